"""The Delta: the only thing that is trained, measured, saved, mixed and shared."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError, files, library_versions, resolve_task, settings
from hyperadapters.backbones import (
    CONTAINER,
    Fingerprint,
    Layout,
    ModelStructure,
    StorageDtype,
    device_of,
    disable_bnb_cpu_packing,
    fingerprint,
    precision_of,
    read_structure,
    torch_dtype,
)
from hyperadapters.delta.generation import (
    GeneratedWeights,
    autocast_of,
    batch_size,
    check_rows,
    continues_from_cache,
    tensors_in,
)
from hyperadapters.delta.head import owned_head
from hyperadapters.delta.method import Method, method_to_json
from hyperadapters.delta.model_card import render_model_card
from hyperadapters.delta.owned_tensors import OwnedTensors
from hyperadapters.delta.part import PARAMETER_KINDS, Handle, ParameterKind, Part
from hyperadapters.delta.whole_backbone import WholeBackbone
from hyperadapters.layers import SEQUENCE_FIRST, SINGLE_ADAPTER, AdapterIndex, index_of, not_by_row

FORMAT = 1
"""Version of the layout on disk; a reader refuses newer ones."""

CONFIG = "adapter_config.json"

TENSORS = "adapter_model.safetensors"


class Delta(nn.Module):
    """A method attached to a backbone under a name: all that it trains, and the hooks that put it to work.

    It is a submodule of the backbone (`backbone.hyperadapters["delta:<name>"]`), so `.to()`, `.train()`, DDP, FSDP and
    `Trainer` see it; the backbone's own tensors and keys do not change. Any number may be attached; one is in use.
    A Delta of several `tasks` holds all of them, and `rows` says which of them each row of a batch uses.
    """

    def __init__(
        self,
        backbone: nn.Module,
        method: Method,
        name: str,
        anatomy: ModelStructure,
        parts: dict[str, Part],
        tasks: tuple[str, ...] = (),
        slots: int = 0,
        precision: StorageDtype = "fp32",
    ):
        super().__init__()
        object.__setattr__(self, "backbone", backbone)  # not a submodule: it is the parent
        self.method = method
        self.name = name
        self.anatomy = anatomy
        self.tasks = tasks
        """Names on the adapter axis, in order; empty where the Delta serves one task that it has no name for."""
        self.precision: StorageDtype = precision
        """The type that it was made in."""
        self.slots = slots
        """How many adapters a pool keeps on the axis, under names of its own; 0 where no pool holds the Delta."""
        self.parts = nn.ModuleDict(parts)
        self.handles: list[Handle] = []
        self.current = GeneratedWeights()
        self.chosen: AdapterIndex | None = None
        self.only: int | None = None
        """The place of the one task that trains, where `train_only` says so."""
        self.keeping: list[Handle] = []
        """Hooks that keep the gradient of that task alone."""
        self.frozen: set[str] = set()
        """What did not train, though the method trains it, when the Delta went to rest."""
        self.about: dict[str, Any] = {}
        """What is saved beside the weights: task, scores. Plain JSON."""

    backbone: nn.Module

    # -- what it holds -------------------------------------------------------------------------------------------

    def part_items(self) -> Iterator[tuple[str, Part]]:
        """The parts by name."""
        yield from self.parts.items()  # type: ignore[misc]

    def trained(self) -> dict[str, nn.Parameter]:
        """Every tensor that trains, by the name it has on disk; a shared one once."""
        return {
            f"{name}.{key}": tensor
            for name, part in self.part_items()
            for key, tensor in part.trained(self.backbone).items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that is saved: what trains, and what a method holds fixed."""
        trained = {
            f"{name}.{key}": tensor
            for name, part in self.part_items()
            for key, tensor in part.values(self.backbone).items()
        }
        return {**trained, **dict(self.parts.named_buffers())}

    def count(self) -> dict[ParameterKind, int]:
        """Trained parameters by kind; after `train_only`, those of that task."""
        totals = dict.fromkeys(PARAMETER_KINDS, 0)
        for _, part in self.part_items():
            for key, tensor in part.trained(self.backbone).items():
                if self.only is None:
                    totals[part.kind(key)] += tensor.numel()
                elif key in part.per_adapter():
                    totals[part.kind(key)] += tensor[self.only].numel()
        return {kind: total for kind, total in totals.items() if total}

    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the backbone as it was before any training, whichever Delta has changed it by now."""
        for delta in (self, *attached(self.backbone)):
            for _, part in delta.part_items():
                if part.original() is not None:
                    return fingerprint(self.backbone, part.original())
        return fingerprint(self.backbone)

    @property
    def outputs(self) -> int | None:
        """How many logits the Delta's own head has; None where the backbone has no such head."""
        head = dict(self.part_items()).get("head")
        return head.shapes[-1][0] if isinstance(head, OwnedTensors) else None

    def bytes(self) -> int:
        """Size of all saved tensors, in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())

    def save(self, folder: str | Path) -> Path:
        """Write `adapter_config.json`, `adapter_model.safetensors` and `README.md`, each whole or not at all.

        Returns the folder. Nothing of the backbone is written but its name and fingerprint.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.describe()
        files.write_tensors(folder / TENSORS, self.tensors())
        files.write_json(folder / CONFIG, config)
        files.write_text(folder / "README.md", render_model_card(config))
        return folder

    def describe(self) -> dict[str, Any]:
        """What `adapter_config.json` says: the whole method, the backbone's fingerprint, sizes, versions."""
        mark = self.fingerprint()
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
                "layout": settings.dump(self.anatomy.layout) if self.anatomy.layout else None,
                "outputs": self.outputs,
            },
            "trained": sum(self.count().values()),
            "bytes": self.bytes(),
            "versions": library_versions(),
            **self.about,
        }

    # -- one in use ----------------------------------------------------------------------------------------------

    @property
    def in_use(self) -> bool:
        """Whether this is the Delta that the backbone computes with."""
        return bool(self.handles)

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
            for stack, entry in self.anatomy.entries.items():  # first of all: a part may hook into a stack too
                begin = partial(self.begin, stack)
                module = self.backbone.get_submodule(entry)
                self.handles.append(module.register_forward_pre_hook(begin, with_kwargs=True))
                self.handles.append(module.register_forward_hook(self.end))
            for name, part in self.part_items():
                self.handles += part.install(self.backbone, partial(self.generated, name))
            self.let_train()
            for key in self.frozen & self.trained().keys():
                self.trained()[key].requires_grad_(False)
        return self

    def check_in_use(self) -> None:
        """Raise InputError if the backbone computes without this Delta."""
        if not self.in_use:
            raise InputError(
                f"the Delta {self.name!r} is at rest, the backbone computes with something else: call its `use` first."
            )

    def rest(self) -> None:
        """Let the backbone compute without this Delta; it stays attached."""
        if not self.in_use:  # full fine-tuning's tensors are the backbone's: another Delta may be training them
            return
        trained = self.trained()
        self.frozen = {key for key, tensor in trained.items() if not tensor.requires_grad}
        for tensor in trained.values():
            tensor.requires_grad_(False)
        for handle in (*self.handles, *self.keeping):
            handle.remove()
        self.handles, self.keeping = [], []
        self.current = GeneratedWeights()

    @contextmanager
    def disabled(self) -> Iterator[nn.Module]:
        """Inside this context the backbone is what it was before `attach`, bit for bit."""
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
        if self in attached(self.backbone):
            container = getattr(self.backbone, CONTAINER)
            del container[container_key(self.name)]
            if not len(container):
                delattr(self.backbone, CONTAINER)
        return self.backbone

    # -- tasks by row --------------------------------------------------------------------------------------------

    @contextmanager
    def rows(self, tasks: str | Sequence[str]) -> Iterator[nn.Module]:
        """Inside this context the rows of a batch use the adapters of these tasks; yields the backbone.

        Args:
            tasks: one task for every row of the batch, or a single one for all rows, whatever their number. Where
                `generate` repeats rows for its beams, each beam uses the task of its row.

        Raises:
            InputError: a task that the Delta does not know (names those it knows), a row without one, or the Delta is
                at rest.
        """
        self.check_in_use()
        with self.choosing(self.chosen_by([tasks] if isinstance(tasks, str) else tasks)) as backbone:
            yield backbone

    @contextmanager
    def choosing(self, rows: AdapterIndex) -> Iterator[nn.Module]:
        """The same with the rows' places on the adapter axis."""
        before, self.chosen = self.chosen, rows
        try:
            yield self.backbone
        finally:
            self.chosen = before

    def chosen_by(self, tasks: Sequence[str]) -> AdapterIndex:
        """The adapters that rows of these tasks use."""
        if not len(tasks):
            raise InputError(f"rows of Delta {self.name!r} were given no task. It knows {self.held_tasks()}.")
        numbers = {task: self.task_number(task) for task in dict.fromkeys(tasks)}
        return index_of([numbers[task] for task in tasks], device_of(self.backbone))

    def task_number(self, task: str) -> int:
        """The place of a task on the adapter axis; the last part of its name will do where it is unique.

        Raises:
            InputError: the Delta knows no such task; names those it knows.
        """
        if not self.tasks:
            held = "is held by a pool, which knows tasks" if self.slots else "holds one task alone, without a name"
            raise InputError(f"Delta {self.name!r} {held}; {task!r} was given.")
        return self.tasks.index(resolve_task(task, self.tasks, f"Delta {self.name!r}"))

    def bake(self, task: str, name: str = "") -> "Delta":
        """One task's adapter by itself: a Delta of a plain method on the same backbone, in use, with its own file.

        What a hypernetwork writes for the task is computed once; the new Delta gives the same logits without it.

        Args:
            task: one of `tasks`.
            name: the new Delta's name; the last part of the task's by default.

        Raises:
            InputError: the Delta knows no such task, the name is taken, or no task has weights of its own.
        """
        number, method = self.task_number(task), self.method.plain()
        with torch.no_grad():
            values = {
                f"{part}.{key}": tensor.clone()
                for part, held in self.part_items()
                for key, tensor in held.baked(number).items()
            }
        name = name or task.rsplit("/", maxsplit=1)[-1].replace(".", "-")
        with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten: the caller's draws stay
            plain = attach(
                self.backbone, method, name, outputs=self.outputs, layout=self.anatomy.layout, precision=self.precision
            )
        with torch.no_grad():
            for key, tensor in plain.tensors().items():
                tensor.copy_(values[key])
        forms = self.about.get("forms", {})
        plain.about = {"task": forms[self.tasks[number]]} if self.tasks[number] in forms else {}
        return plain

    def add_task(self, task: str, like: str = "") -> None:
        """Hold one task more, which starts from a task that is there, or from the mean of all.

        Raises:
            InputError: the task is there already, `like` is not, or the Delta was attached for one task alone.
        """
        if task in self.tasks or not task:
            raise InputError(f"Delta {self.name!r} cannot add task {task!r}: it holds {self.held_tasks()}.")
        if len(self.tasks) < 2:
            raise InputError(f"Delta {self.name!r} was made for one task. Attach it with several: tasks=[...].")
        sources = [self.task_number(like)] if like else range(len(self.tasks))
        was_in_use = self.in_use
        self.rest()
        for _, part in self.part_items():
            part.grow(sources)
        self.tasks = (*self.tasks, task)
        if was_in_use:
            self.use()

    def held_tasks(self) -> str:
        """In words, the tasks of this Delta."""
        return ", ".join(self.tasks) or ("those of a pool, `pool.rows`" if self.slots else "one alone, without a name")

    def train_only(self, task: str | None) -> None:
        """Let nothing train but what one task has for itself, from now on; with None, again all that the method trains.

        Raises:
            InputError: the Delta knows no such task, or the method shares everything.
        """
        number = None if task is None else self.task_number(task)
        if task is not None and not self.own_tensors():
            raise InputError(
                f"{type(self.method).__name__} has nothing of its own for a task, so with the rest frozen nothing is "
                "left to train."
            )
        self.only, self.frozen = number, set()
        if self.in_use:
            self.let_train()

    def own_tensors(self) -> set[str]:
        """Names of the tensors of which every task has an entry for itself."""
        return {f"{name}.{key}" for name, part in self.part_items() for key in part.per_adapter()}

    def let_train(self) -> None:
        """Gradients for what trains: all, the entries of the one task that does, or nothing of a pool's."""
        while self.keeping:
            self.keeping.pop().remove()
        own = self.own_tensors()
        for key, tensor in self.trained().items():
            tensor.requires_grad_(not self.slots and (self.only is None or key in own))
        self.keep_rows()

    def keep_rows(self) -> None:
        """Hooks on the gradients, where one task alone trains."""
        if self.only is None:
            return
        for _, part in self.part_items():
            held = part.held()
            for tensor in (held[key] for key in part.per_adapter()):
                if tensor.requires_grad:
                    keep: Handle = tensor.register_hook(partial(keep_row, self.only))  # type: ignore[no-untyped-call]
                    self.keeping.append(keep)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy, whose tensors come without the hooks on their gradients."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.keeping = []
        self.keep_rows()

    # -- one pass ------------------------------------------------------------------------------------------------

    def begin(self, stack: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Generate all weights when a pass begins; the stacks after the first use the same ones.

        A pass begins at the first stack, unless that goes on from a cache. With gradients, what was generated serves
        each stack once, because its graph is consumed by the backward pass; without, it serves until a parameter
        changes, so decoding generates once and not once a token.
        """
        first = stack == self.anatomy.stacks[0] and not continues_from_cache(kwargs)
        if first or self.outdated(stack):  # in this order: compiled code must not depend on how the last pass ended
            self.regenerate()
        self.current.served = (*self.current.served, stack) if torch.is_grad_enabled() else ()
        if self.current.rows.count is not None:
            check_rows(self.current.rows.count, batch_size(args, kwargs), stack)

    def end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """The hook after a stack: its backward pass finds the weights of this pass, whatever was computed since.

        Gradient checkpointing computes a layer again there, with the hooks of its modules.
        """
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            for tensor in tensors_in(output):
                if tensor.requires_grad:
                    tensor.register_hook(partial(self.resume, self.current))  # type: ignore[no-untyped-call]

    def resume(self, earlier: GeneratedWeights, gradient: Tensor) -> None:
        """Go back to what an earlier pass used."""
        self.current = earlier

    def outdated(self, stack: str) -> bool:
        """Whether what was generated cannot serve this stack."""
        used_up = torch.is_grad_enabled() and stack in self.current.served
        told = self.chosen is not None or self.by_row
        other_rows = told and self.chosen is not self.current.rows
        return used_up or other_rows or self.current.key != self.key()

    @property
    def by_row(self) -> bool:
        """Whether a pass must be told which adapters its rows use."""
        return len(self.tasks) > 1 or self.slots > 0

    def regenerate(self) -> None:
        """Make what every part's hooks use from the parameters as they are now, for the rows under way."""
        if self.chosen is None and self.by_row:
            raise InputError(
                f"Delta {self.name!r} holds {self.slots or len(self.tasks)} tasks and was not told which of them the "
                f"rows use: `with delta.rows([...])`. It knows {self.held_tasks()}."
            )
        rows = self.chosen or SINGLE_ADAPTER
        if rows.index is not None and getattr(self.backbone.config, "model_type", "") in SEQUENCE_FIRST:
            raise not_by_row("tokens where other families have rows")
        self.current = GeneratedWeights(
            {name: part.generate(rows) for name, part in self.part_items()}, rows, self.key()
        )

    def generated(self, part: str) -> Any:
        """What a part generated for this pass."""
        if part not in self.current.generated:  # a layer called by itself, outside any stack
            self.regenerate()
        return self.current.generated[part]

    def key(self) -> tuple[Any, ...]:
        """What generated weights depend on: parameter versions and the modes of PyTorch. Constant while compiling."""
        if torch.compiler.is_compiling():
            return ()
        tensors = [*self.parts.parameters()]
        casts = [autocast_of(kind) for kind in sorted({tensor.device.type for tensor in tensors})]
        modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *casts)
        return (*modes, *((id(tensor), tensor.data_ptr(), tensor._version) for tensor in tensors))

    def extra_repr(self) -> str:
        """Name and method."""
        return f"{self.name!r}, {self.method}"


def keep_row(number: int, gradient: Tensor) -> Tensor:
    """A gradient that is zero for all entries of the adapter axis but one."""
    kept = torch.zeros_like(gradient)
    kept[number] = gradient[number]
    return kept


def attached(backbone: nn.Module) -> list[Delta]:
    """The Deltas of a backbone, in the order they were attached."""
    container = getattr(backbone, CONTAINER, None)
    return list(container.values()) if container is not None else []


@torch.inference_mode(False)
def attach(
    backbone: nn.Module,
    method: Method,
    name: str = "default",
    *,
    outputs: int | None = None,
    layout: Layout | None = None,
    tasks: Sequence[str] = (),
    precision: StorageDtype = "fp32",
) -> Delta:
    """Attach a method to a backbone and put it in use.

    Args:
        backbone: a frozen pretrained transformer; its parameters are frozen here if they are not.
        method: one of the method dataclasses, or an entry of `METHODS`.
        name: the Delta's name, a Python identifier or words joined by `-`, unique on this backbone.
        outputs: on a backbone with a classification head, how many logits the Delta's own head has: one for each
            class, or 1 for a number. Without it, the Delta's head starts as a copy of the backbone's.
        layout: the sites named by hand, for a backbone whose structure does not tell them.
        tasks: names of the tasks that the Delta shall hold, one adapter each, where there are several;
            `Delta.rows` then says which of them the rows of a batch use.
        precision: the type in which the Delta's own tensors are held, trained and saved, whatever the backbone's. It
            computes in the backbone's.

    Returns:
        The Delta, freshly initialised from torch's global generator, in use.

    Raises:
        InputError: the method does not fit the backbone, the name is taken, or the method holds one task alone;
            nothing has changed then.
    """
    check_name(backbone, name)
    check_tasks(method, tasks)
    device, dtype = device_of(backbone), torch_dtype(precision)
    with at_rest(backbone), torch.device("meta" if device.type == "meta" else "cpu"):
        shape = read_structure(backbone, layout)
        method.check(shape)
        parts = build_parts(backbone, method, shape, outputs, len(tasks))
    if trains_in_place(parts):
        precision = in_place_dtype(backbone, method, precision)
        dtype = torch_dtype(precision)
    delta = Delta(backbone, method, name, shape, parts, tuple(tasks), precision=precision)
    delta.to(device, dtype)
    register(delta)
    return delta.use()


def trains_in_place(parts: Mapping[str, Part]) -> bool:
    """Whether it is the backbone's own tensors that train."""
    return any(isinstance(part, WholeBackbone) for part in parts.values())


def in_place_dtype(backbone: nn.Module, method: Method, asked: StorageDtype) -> StorageDtype:
    """The type of what trains in place: the backbone's.

    Raises:
        InputError: another is asked for than that or the default.
    """
    own = precision_of(backbone)
    if asked not in ("fp32", own):
        raise InputError(
            f"{method.label} trains the backbone in place, in its own type ({own}): load the backbone in {asked}, "
            "or leave the adapter's type at fp32."
        )
    return own


def register(delta: Delta) -> None:
    """Make a Delta a submodule of its backbone, whose own parameters are frozen if they are not."""
    backbone = delta.backbone
    for other in attached(backbone):
        other.rest()
    backbone.requires_grad_(False)
    disable_bnb_cpu_packing(backbone)
    if not hasattr(backbone, CONTAINER):
        backbone.add_module(CONTAINER, nn.ModuleDict())
    getattr(backbone, CONTAINER)[container_key(delta.name)] = delta
    delta.train(backbone.training)


@contextmanager
def at_rest(backbone: nn.Module) -> Iterator[None]:
    """Inside this context no Delta is in use: a new one is made for the backbone as it was, not as another has it."""
    with ExitStack() as stack:
        for delta in attached(backbone):
            stack.enter_context(delta.disabled())
        yield


def build_parts(
    backbone: nn.Module, method: Method, shape: ModelStructure, outputs: int | None, tasks: int = 0
) -> dict[str, Part]:
    """The method's parts and, where the backbone has a task head, the Delta's own.

    Raises:
        InputError: a number of outputs for a backbone without such a head.
    """
    if outputs is not None and not shape.head:
        raise InputError(
            f"outputs={outputs}: {type(backbone).__name__} has no classification head. Leave outputs away, or load the "
            "backbone as AutoModelForSequenceClassification."
        )
    parts = method.build(backbone, shape, max(1, tasks))
    if shape.head:
        parts["head"] = owned_head(backbone, shape, outputs, max(1, tasks))
    return parts


def container_key(name: str) -> str:
    """The key of a Delta in its container: bare names such as "train" are attributes of modules."""
    return f"delta:{name}"


def check_name(backbone: nn.Module, name: str) -> None:
    """Raise InputError if a Delta cannot be called so."""
    if not name or "." in name:
        raise InputError(f"a Delta cannot be called {name!r}: use a name without dots, such as {'mrpc'!r}.")
    if name in {delta.name for delta in attached(backbone)}:
        raise InputError(f"the backbone has a Delta {name!r} already: use another name, or detach that one first.")


def check_tasks(method: Method, tasks: Sequence[str]) -> None:
    """Raise InputError if a method cannot hold these tasks."""
    if isinstance(tasks, str) or len(set(tasks)) != len(tasks) or not all(tasks):
        raise InputError(f"tasks={tasks!r}: give each task's name once, such as {['mrpc', 'rte']!r}.")
    if len(tasks) > 1 and not method.many_tasks:
        raise InputError(
            f"{type(method).__name__} holds one task; {len(tasks)} were given ({', '.join(tasks)}). "
            "Attach one Delta a task, or use a method that holds many, such as hyperformer++ or full-multitask."
        )
