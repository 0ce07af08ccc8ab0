"""The Delta: the only thing that is trained, measured, saved, mixed and shared."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError, files, library_versions, settings
from hyperadapters.backbones import (
    Fingerprint,
    Layout,
    ModelStructure,
    StorageDtype,
    device_of,
    fingerprint,
    precision_of,
    read_structure,
    torch_dtype,
)
from hyperadapters.delta.building import build_parts, check_tasks, in_place_dtype, trains_in_place
from hyperadapters.delta.container import at_rest, attached, check_name, register, unregister
from hyperadapters.delta.counting import count_delta
from hyperadapters.delta.generation import Generation
from hyperadapters.delta.head import Head
from hyperadapters.delta.method import Method, method_to_json
from hyperadapters.delta.model_card import render_model_card
from hyperadapters.delta.part import Handle, Part
from hyperadapters.delta.task_entry import TaskEntry
from hyperadapters.delta.task_rows import TaskRows
from hyperadapters.layers import SEQUENCE_FIRST, AdapterIndex, not_by_row

FORMAT = 1
"""Version of the layout on disk; a reader refuses newer ones."""
CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"


class Delta(nn.Module):
    """A method attached to a backbone under a name: all that it trains, and the hooks that put it to work.

    `ha.attach` and `ha.load` make one. It is a submodule of the backbone (`backbone.hyperadapters["delta:<name>"]`), so
    `.to()`, `.train()`, DDP, FSDP and `Trainer` see it; the backbone's own tensors and keys do not change. Any number
    may be attached, one of which is in use. A Delta of several `tasks` holds all of them, and `rows` says which of them
    each row of a batch uses.
    """

    backbone: nn.Module
    """The model that it is attached to."""

    def __init__(
        self,
        backbone: nn.Module,
        method: Method,
        name: str,
        structure: ModelStructure,
        parts: dict[str, Part],
        tasks: tuple[str, ...] = (),
        slots: int = 0,
        precision: StorageDtype = "fp32",
    ):
        """Hold these parts; nothing is attached yet. `slots`: how many adapters a pool keeps on the axis, or 0."""
        super().__init__()
        object.__setattr__(self, "backbone", backbone)  # not a submodule: it is the parent
        self.method = method
        self.name = name
        self.structure = structure
        self.precision: StorageDtype = precision
        """The type that its tensors were made in."""
        self.about: dict[str, Any] = {}
        """What is saved beside the weights: task, scores. Plain JSON."""
        self.parts = nn.ModuleDict(parts)
        self._entry: TaskEntry | None = None
        self._rows = TaskRows(name, tasks, slots)
        self._generation = Generation(self._make, self.parameters, self._rows, structure.stacks[0])
        self._handles: list[Handle] = []
        self._frozen: set[str] = set()
        """What a user had frozen when the Delta went to rest."""

    @classmethod
    @torch.inference_mode(False)
    def create(
        cls,
        backbone: nn.Module,
        method: Method,
        name: str,
        *,
        outputs: int | None = None,
        layout: Layout | None = None,
        tasks: Sequence[str] = (),
        precision: StorageDtype = "fp32",
    ) -> "Delta":
        """Make a Delta, attach it and put it in use: `ha.attach`, for a method and not a preset's name.

        Raises:
            InputError: as `ha.attach`; nothing has changed then.
        """
        check_name(backbone, name)
        check_tasks(method, tasks)
        device = device_of(backbone)
        with at_rest(backbone), torch.device("meta" if device.type == "meta" else "cpu"):
            structure = read_structure(backbone, layout)
            method.check(structure)
            parts = build_parts(backbone, method, structure, outputs, len(tasks))
        if trains_in_place(parts):
            precision = in_place_dtype(backbone, method, precision)
        delta = cls(backbone, method, name, structure, parts, tuple(tasks), precision=precision)
        delta.to(device, torch_dtype(precision))
        register(delta)
        return delta.use()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that it holds, in order; empty where it serves one task that it has no name for."""
        return self._rows.tasks

    @property
    def slots(self) -> int:
        """How many adapters a pool keeps on the adapter axis, under names of its own; 0 where no pool holds it."""
        return self._rows.slots

    @property
    def outputs(self) -> int | None:
        """How many logits the Delta's own head has; None where the backbone has no such head."""
        head = self.parts["head"] if "head" in self.parts else None  # noqa: SIM401
        return head.outputs if isinstance(head, Head) else None

    @property
    def in_use(self) -> bool:
        """Whether this is the Delta that the backbone computes with."""
        return bool(self._handles)

    @property
    def trains_in_place(self) -> bool:
        """Whether it is the backbone's own tensors that train, as in full fine-tuning."""
        return trains_in_place(dict(self._named_parts()))

    @property
    def trained_task(self) -> str | None:
        """The one task that trains, where `train_only` says so."""
        return None if self._entry is None else self.tasks[self._entry.number]

    def trained(self) -> dict[str, nn.Parameter]:
        """Return every tensor that trains, by the name it has on disk; a shared one once.

        After `train_only` those of that task alone, whose first axis has length 1.
        """
        return self._whole() if self._entry is None else self._entry.trained()

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that is saved, by its name on disk: what trains, and what a method holds fixed."""
        self._settle()
        values = {
            f"{name}.{key}": tensor
            for name, part in self._named_parts()
            for key, tensor in part.values(self.backbone).items()
        }
        return {**values, **dict(self.parts.named_buffers())}

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint of the backbone before any training, whichever Delta has changed it by now."""
        for delta in (self, *attached(self.backbone)):
            for _, part in delta._named_parts():
                if part.original() is not None:
                    return fingerprint(self.backbone, part.original())
        return fingerprint(self.backbone)

    def save(self, folder: str | Path) -> Path:
        """Write `adapter_config.json`, `adapter_model.safetensors` and `README.md`, each whole or not at all.

        Nothing of the backbone is written but its name and fingerprint.

        Args:
            folder: made if it is not there; files of these names in it are replaced.

        Returns:
            The folder.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.describe()
        files.write_tensors(folder / TENSORS, self.tensors())
        files.write_json(folder / CONFIG, config)
        files.write_text(folder / "README.md", render_model_card(config))
        return folder

    def describe(self) -> dict[str, Any]:
        """Return what `adapter_config.json` says: the whole method, the backbone's fingerprint, sizes, versions."""
        mark, layout, counted = self.fingerprint(), self.structure.layout, count_delta(self)
        return {
            "format": FORMAT,
            "name": self.name,
            "method": method_to_json(self.method),
            "tasks": list(self.tasks),
            "precision": self.precision,
            "backbone": {
                "name": self.backbone.config._name_or_path,  # type: ignore[union-attr]
                "architecture": mark.architecture,
                "weights": mark.weights,
                "precision": precision_of(self.backbone),
                "layout": settings.dump(layout) if layout else None,
                "outputs": self.outputs,
            },
            "trained": counted.trained,
            "bytes": counted.bytes,
            "versions": library_versions(),
            **self.about,
        }

    def use(self) -> "Delta":
        """Make this the Delta that the backbone computes with, norms included; the others rest. Returns itself.

        One that was detached is attached again.

        Raises:
            InputError: it was detached, and another Delta has taken its name.
        """
        if not self.in_use:
            if self not in attached(self.backbone):
                check_name(self.backbone, self.name)
                register(self)
            for other in attached(self.backbone):
                other.rest()
            self._install()
            self._let_train()
            for key in self._frozen & self.trained().keys():
                self.trained()[key].requires_grad_(False)
        return self

    def rest(self) -> None:
        """Let the backbone compute without this Delta; it stays attached."""
        if not self.in_use:  # full fine-tuning's tensors are the backbone's: another Delta may be training them
            return
        trained = self.trained()
        self._frozen = {key for key, tensor in trained.items() if not tensor.requires_grad}
        for tensor in trained.values():
            tensor.requires_grad_(False)
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._generation.forget()

    @contextmanager
    def disabled(self) -> Iterator[nn.Module]:
        """Let the backbone be what it was before `attach`, bit for bit, inside this context; yields the backbone."""
        was_in_use = self.in_use
        self.rest()
        try:
            yield self.backbone
        finally:
            if was_in_use and self in attached(self.backbone):
                self.use()

    def detach(self) -> nn.Module:
        """Take the Delta out of the backbone, which is then what it was, bit for bit. Returns the backbone."""
        self.rest()
        unregister(self)
        return self.backbone

    @contextmanager
    def rows(self, tasks: str | Sequence[str] | AdapterIndex) -> Iterator[nn.Module]:
        """Let the rows of a batch use the adapters of these tasks, inside this context; yields the backbone.

        Args:
            tasks: one task for every row of the batch, or a single one for all rows, whatever their number; or places
                on the adapter axis, as a pool knows them. Where `generate` repeats rows for its beams, each beam uses
                the task of its row.

        Raises:
            InputError: a task that the Delta does not know (names those it knows), a row without one, or the Delta is
                at rest.
        """
        self.check_in_use()
        if not isinstance(tasks, AdapterIndex):
            tasks = self._rows.index_for([tasks] if isinstance(tasks, str) else tasks, device_of(self.backbone))
        with self._rows.using(tasks):
            yield self.backbone

    def bake(self, task: str, name: str = "") -> "Delta":
        """Make one task's adapter a Delta of a plain method by itself, on the same backbone and in use.

        What a hypernetwork writes for the task is computed once; the new Delta gives the same logits without it.

        Args:
            task: one of `tasks`.
            name: the new Delta's name; the last part of the task's by default.

        Returns:
            The new Delta, which has a file of its own.

        Raises:
            InputError: the Delta knows no such task, the name is taken, or no task has weights of its own.
        """
        number, method = self._rows.number(task), self.method.plain()
        self._settle()
        with torch.no_grad():
            values = {
                f"{part}.{key}": tensor.clone()
                for part, held in self._named_parts()
                for key, tensor in held.baked(number).items()
            }
        name = name or task.rsplit("/", maxsplit=1)[-1].replace(".", "-")
        layout, precision = self.structure.layout, self.precision
        with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten
            plain = Delta.create(self.backbone, method, name, outputs=self.outputs, layout=layout, precision=precision)
        with torch.no_grad():
            for key, tensor in plain.tensors().items():
                tensor.copy_(values[key])
        forms = self.about.get("forms", {})
        plain.about = {"task": forms[self.tasks[number]]} if self.tasks[number] in forms else {}
        return plain

    def add_task(self, task: str, like: str = "") -> None:
        """Hold one task more, which starts from a task that is there, or from the mean of all.

        Args:
            task: the new task's name.
            like: the task that it starts from; empty: the mean of all.

        Raises:
            InputError: the task is there already, `like` is not, or the Delta was attached for one task alone.
        """
        if task in self.tasks or not task:
            raise InputError(f"Delta {self.name!r} cannot add task {task!r}: it holds {self._rows.in_words()}.")
        if len(self.tasks) < 2:
            raise InputError(f"Delta {self.name!r} was made for one task. Attach it with several: tasks=[...].")
        sources = [self._rows.number(like)] if like else range(len(self.tasks))
        self._settle()
        with self.disabled():
            for _, part in self._named_parts():
                part.grow(sources)
            self._rows.tasks = (*self.tasks, task)

    def train_only(self, task: str | None) -> None:
        """Let nothing train but what one task has for itself; with None, all that the method trains.

        Make the optimizer afterwards: what trains are other parameters than before.

        Args:
            task: one of `tasks`, or None.

        Raises:
            InputError: the Delta knows no such task, or the method shares everything.
        """
        number = None if task is None else self._rows.number(task)
        if number is not None and not any(part.per_adapter() for _, part in self._named_parts()):
            raise InputError(
                f"{type(self.method).__name__} has nothing of its own for a task, so with the rest frozen nothing is "
                "left to train."
            )
        self._settle()
        if self.in_use:
            for tensor in self._whole().values():
                tensor.requires_grad_(False)
        self._entry = None if number is None else TaskEntry(dict(self._named_parts()), number)
        self._frozen = set()
        self._generation.forget()
        for tensor in self.trained().values():
            tensor.requires_grad_(self.in_use)

    def check_in_use(self) -> None:
        """Raise InputError if the backbone computes without this Delta."""
        if not self.in_use:
            raise InputError(
                f"the Delta {self.name!r} is at rest, the backbone computes with something else: call its `use` first."
            )

    def extra_repr(self) -> str:
        return f"{self.name!r}, {self.method}"

    def _named_parts(self) -> Iterator[tuple[str, Part]]:
        yield from self.parts.items()  # type: ignore[misc]

    def _whole(self) -> dict[str, nn.Parameter]:
        """Return every tensor that the method trains, by the name it has on disk."""
        return {
            f"{name}.{key}": tensor
            for name, part in self._named_parts()
            for key, tensor in part.trained(self.backbone).items()
        }

    def _settle(self) -> None:
        """See to it that the parts hold what the one task that trains has learned."""
        if self._entry is not None:
            self._entry.write_back(dict(self._named_parts()))

    def _let_train(self) -> None:
        """Let what trains have gradients: all, the entries of the one task that does, or nothing of a pool's."""
        for tensor in self.trained().values():
            tensor.requires_grad_(not self.slots)

    def _install(self) -> None:
        """Put the hooks in place: those that see a pass begin first, because a part may hook on a stack too."""
        for stack, entry in self.structure.entries.items():
            before = partial(self._generation.before_stack, stack)
            module = self.backbone.get_submodule(entry)
            self._handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._generation.after_stack))
        for name, part in self._named_parts():
            self._handles += part.install(self.backbone, partial(self._generation.of_part, name))

    def _make(self, rows: AdapterIndex) -> dict[str, Any]:
        """Return what every part makes for one pass over these rows.

        Raises:
            InputError: rows differ, and the family lays them out in a way that no row can have its own weights.
        """
        if rows.index is not None and getattr(self.backbone.config, "model_type", "") in SEQUENCE_FIRST:
            raise not_by_row("tokens where other families have rows")
        with ExitStack() as stack:
            if self._entry is not None:
                for name, part in self._named_parts():
                    stack.enter_context(self._entry.spliced_into(name, part))
            return {name: part.generate(rows) for name, part in self._named_parts()}
