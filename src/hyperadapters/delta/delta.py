"""The Delta: a method attached to a backbone, with the tensors that it trains."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError, expand_path, few_names, html_table, human_bytes
from hyperadapters.backbones import (
    Backbone,
    Fingerprint,
    Layout,
    ModelStructure,
    Pooling,
    StorageDtype,
    device_of,
    discard_compiled_code,
    fingerprint,
    inner_model,
    read_structure,
    torch_dtype,
)
from hyperadapters.delta.added_tasks import _add_task
from hyperadapters.delta.baking import _bake
from hyperadapters.delta.building import Outputs, _in_place_dtype, _trains_in_place, build_parts, check_tasks
from hyperadapters.delta.container import _unregister, at_rest, attached, check_name, register
from hyperadapters.delta.counting import count_delta
from hyperadapters.delta.describing import _add_described, _describe, _said
from hyperadapters.delta.generation import _Generation
from hyperadapters.delta.head import _Head
from hyperadapters.delta.installing import _compute_parts, _install_hooks
from hyperadapters.delta.late_gradients import _freeze, _unfreeze
from hyperadapters.delta.merging import _merge
from hyperadapters.delta.method import Method
from hyperadapters.delta.named_classes import _LABELS, _check_names, _names_of_backbone, _state_names
from hyperadapters.delta.part import Handle, Part
from hyperadapters.delta.saving import _save_delta
from hyperadapters.delta.sentence_models import _JoinedModel
from hyperadapters.delta.task_entry import _TaskEntry
from hyperadapters.delta.task_rows import _TaskRows
from hyperadapters.delta.uploading import Upload, _push_delta
from hyperadapters.layers import AdapterIndex


class Delta(nn.Module):
    """A method attached to a backbone under a name: the tensors that it trains, and the hooks that apply them.

    Made by `ha.attach` and `ha.load`. A Delta holds its own copies of everything it trains, layer norms included, so
    several can be attached to one backbone and switched independently; one of them is in use at a time. A Delta with
    several `tasks` holds an adapter for each, and `rows` says which task each row of a batch belongs to.

    A Delta is a submodule of its backbone (`backbone.hyperadapters["<name>"]`), so `.to()`, `.train()`, DDP, FSDP
    and `Trainer` find it. The backbone's own tensors and state-dict keys do not change.

    Args:
        backbone: the model that the Delta is for.
        method: what it was built from.
        name: unique on the backbone.
        structure: of the backbone.
        parts: its components, by name, as `Method.build` returns them.
        tasks: names of the tasks that it holds; empty for one task without a name.
        slots: length of the adapter axis if a pool manages the Delta, else 0.
        precision: the dtype of its tensors.
    """

    backbone: Backbone
    """The model that the Delta is attached to."""
    around: nn.Module | None
    """The SentenceTransformer or CrossEncoder around it, if the Delta was attached to one."""

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
        super().__init__()
        object.__setattr__(self, "backbone", backbone)  # not a submodule: it is the parent
        object.__setattr__(self, "around", None)
        self.method = method
        self.name = name
        self.structure = structure
        self.precision: StorageDtype = precision
        """The dtype in which its tensors were made."""
        self._about: dict[str, Any] = {}
        self.parts = nn.ModuleDict(parts)
        self._entry: _TaskEntry | None = None
        self._rows = _TaskRows(name, tasks, slots)
        self._generation = _Generation(self._make, self.parameters, self._rows, structure.stacks[0])
        self._handles: list[Handle] = []
        self._frozen: set[str] = set()
        """Names of the trained tensors that the user had frozen when the Delta was last put to rest."""

    @classmethod
    @torch.inference_mode(False)
    def create(
        cls,
        backbone: nn.Module,
        method: Method,
        name: str,
        *,
        outputs: Outputs | Sequence[str] = None,
        layout: Layout | None = None,
        pooling: Pooling = "model",
        tasks: Sequence[str] = (),
        precision: StorageDtype = "fp32",
        own_head: bool = True,
    ) -> "Delta":
        """Make a Delta, attach it and put it in use. `ha.attach` calls this, and also takes presets and a seed.

        Args:
            backbone: the model to adapt, or a model of sentence-transformers around it.
            method: the method.
            name: the Delta's name.
            outputs: as for `ha.attach`.
            layout: as for `ha.attach`.
            pooling: as for `ha.attach`.
            tasks: as for `ha.attach`.
            precision: as for `ha.attach`.
            own_head: whether the Delta has its own copy of the backbone's task head, if there is one.

        Raises:
            InputError: as `ha.attach`; the backbone is unchanged then.
        """
        model, backbone = backbone, inner_model(backbone)
        check_name(backbone, name)
        check_tasks(method, tasks)
        names = outputs if isinstance(outputs, Sequence) else ()
        sizes = _check_names(names) if isinstance(outputs, Sequence) else outputs
        device = device_of(backbone)
        with at_rest(backbone), torch.device("meta" if device.type == "meta" else "cpu"):
            structure = read_structure(backbone, layout, pooling)
            structure = structure if own_head else replace(structure, head=())
            method.check(structure)
            parts = build_parts(backbone, method, structure, sizes, tasks)
        if _trains_in_place(parts):
            precision = _in_place_dtype(backbone, method, precision)
        delta = cls(backbone, method, name, structure, parts, tuple(tasks), precision=precision)
        delta.to(device, torch_dtype(precision))
        if isinstance(delta.outputs, int):
            delta.about = {_LABELS: [*names]} if names else _names_of_backbone(backbone, delta.outputs)
        register(delta)
        return delta.join(model).use()

    @property
    def about(self) -> dict[str, Any]:
        """What else is saved in `adapter_config.json`, such as the task and its scores: plain JSON.

        While the Delta is in use, the backbone's configuration states the names of its classes (`id2label`).
        """
        return self._about

    @about.setter
    def about(self, said: dict[str, Any]) -> None:
        self._about = said
        if self.in_use:
            self._state_classes()

    def _state_classes(self) -> None:
        """Let the backbone's configuration state the names of the head's classes."""
        if isinstance(self.outputs, int):
            _state_names(self.backbone, self.outputs, self._about)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that it holds, in order; empty for one task without a name."""
        return self._rows.tasks

    @property
    def slots(self) -> int:
        """Length of the adapter axis if a pool manages the Delta, and keeps the tasks' names itself; else 0."""
        return self._rows.slots

    @property
    def outputs(self) -> int | dict[str, int] | None:
        """The number of outputs of the Delta's own head, by task where they differ; None if it has no such head."""
        head = self._head
        if head is None:
            return None
        alike = self.slots or len({*head.sizes}) == 1
        return head.outputs if alike else dict(zip(self.tasks, head.sizes, strict=True))

    def outputs_of(self, task: str) -> int | None:
        """Return the number of outputs of a task's head; None if the backbone has no such head.

        Args:
            task: one of `tasks`; of a Delta that holds one task without a name, any.

        Raises:
            InputError: the Delta knows no such task.
        """
        outputs = self.outputs
        return outputs[self.tasks[self._rows.number(task)]] if isinstance(outputs, dict) else outputs

    @property
    def _head(self) -> _Head | None:
        head = self.parts["head"] if "head" in self.parts else None  # noqa: SIM401
        return head if isinstance(head, _Head) else None

    @property
    def in_use(self) -> bool:
        """Whether this is the Delta that the backbone computes with."""
        return bool(self._handles)

    @property
    def trains_in_place(self) -> bool:
        """Whether the backbone's own tensors train, as in full fine-tuning."""
        return _trains_in_place(dict(self._named_parts()))

    @property
    def trained_task(self) -> str | None:
        """The task given to `train_only`, or None if everything trains."""
        return None if self._entry is None else self.tasks[self._entry.number]

    def trained(self) -> dict[str, nn.Parameter]:
        """Return every parameter that trains, by its name in saved files; shared ones once.

        After `train_only` these are the entries of that task only, with a first axis of length 1.
        """
        return self._whole() if self._entry is None else self._entry.trained()

    def select_trained(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return of saved tensors what `trained` has: all of each, or, after `train_only`, that task's entry.

        Args:
            tensors: by the names that `tensors` gives, of the same shapes.
        """
        entry = slice(None) if self._entry is None else slice(self._entry.number, self._entry.number + 1)
        return {name: tensors[name][entry] if tensors[name].dim() else tensors[name] for name in self.trained()}

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor that is saved, by its name in the file: trained tensors and the method's fixed ones."""
        self._settle()
        values = {
            f"{name}.{key}": tensor
            for name, part in self._named_parts()
            for key, tensor in part.values(self.backbone).items()
        }
        return {**values, **dict(self.parts.named_buffers())}

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint of the original backbone, even if a Delta has changed its tensors in place.

        That of a pooler is left out where the Delta's head reads past it.
        """
        parts = (part for delta in (self, *attached(self.backbone)) for _, part in delta._named_parts())
        originals = (part.original() for part in parts)
        found = fingerprint(self.backbone, next((tensors for tensors in originals if tensors is not None), None))
        return found if self.structure.pooling == "model" else replace(found, pooler="")

    def save(self, folder: str | Path) -> Path:
        """Write `adapter_config.json`, `adapter_model.safetensors` and `README.md`; `ha.load` reads them.

        Of the backbone only its name and fingerprint are written. Each file is written completely or not at all. Under
        FSDP2 (`fully_shard`) every process must call it, and the first writes.

        Args:
            folder: created if it does not exist; files of these names in it are replaced.

        Returns:
            The folder.

        Raises:
            InputError: the folder holds a model, which transformers could not load with an adapter beside it.
        """
        return _save_delta(self, expand_path(folder))

    def push_to_hub(
        self,
        repository: str,
        *,
        revision: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str = "Upload an adapter of hyperadapters",
        license: str | None = None,
        language: str | None = None,
    ) -> str:
        """Upload to the Hugging Face Hub what `save` writes; `ha.load("user/name")` loads it.

        The Hub checks the model card first. Under FSDP2 every process must call it, and the first uploads.

        Args:
            repository: `user/name`; made unless it exists.
            revision: the branch, made unless it exists; None: the main one.
            private: whether nobody else may read a new repository; None: as the account has it.
            token: of the account; None: that of `hf auth login`.
            commit_message: what the Hub's history says.
            license: of the adapter, for its card, as the Hub writes it: `apache-2.0`.
            language: of its texts, for its card: `en`.

        Returns:
            The address of the commit; empty in other processes than the first.

        Raises:
            InputError: that is no name of a repository, the Hub refuses the account or the card, or the repository is
                public and is to be private; or the Hub does not answer (`UnavailableError`).
        """
        upload = Upload(
            repository=repository,
            revision=revision,
            private=private,
            token=token,
            commit_message=commit_message,
            license=license,
            language=language,
        )
        return _push_delta(self, upload)

    def use(self) -> "Delta":
        """Make the backbone compute with this Delta, and put the others to rest.

        A Delta that was detached is attached again.

        Returns:
            The Delta itself.

        Raises:
            InputError: it was detached, and another Delta has taken its name; or another thread computes.
        """
        if not self.in_use:
            if self not in attached(self.backbone):
                check_name(self.backbone, self.name)
                register(self)
            for other in attached(self.backbone):
                other.rest()
            self._check_idle()
            self._install()
            self._let_train()
            for key in self._frozen & self.trained().keys():
                self.trained()[key].requires_grad_(False)
        return self

    def rest(self) -> None:
        """Make the backbone compute without this Delta, which remains attached.

        A backward pass through what it computed before still adds to the gradients of its tensors, as for a loss over
        two Deltas; autograd refuses it for full fine-tuning, whose tensors are restored.

        Raises:
            InputError: another thread computes with it.
        """
        if not self.in_use:  # full fine-tuning's tensors are the backbone's: another Delta may be training them
            return
        self._check_idle()
        trained = self.trained()
        self._frozen = {key for key, tensor in trained.items() if not tensor.requires_grad}
        _freeze(trained.values(), in_place=self.trains_in_place)
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._generation.forget()
        discard_compiled_code()

    @contextmanager
    def disabled(self) -> Iterator[Backbone]:
        """Restore the backbone, bit for bit, to what it was before `attach`, inside this context.

        Yields:
            The backbone.
        """
        was_in_use = self.in_use
        self.rest()
        try:
            yield self.backbone
        finally:
            if was_in_use and self in attached(self.backbone):
                self.use()

    def detach(self) -> Backbone:
        """Remove the Delta from the backbone, which is then bit for bit what it was before `attach`.

        Returns:
            The backbone.
        """
        self.rest()
        _unregister(self)
        return self.backbone

    @contextmanager
    def rows(self, tasks: str | Sequence[str] | AdapterIndex) -> Iterator[Backbone]:
        """Say which task each row of a batch belongs to, for the forward passes inside this context.

        `generate` repeats rows for beams; each beam uses its row's task.

        Args:
            tasks: one task per row of the batch, or a single task for all rows of batches of any size. A pool gives
                positions on the adapter axis instead.

        Yields:
            The backbone.

        Raises:
            InputError: the Delta does not know a task (the error names those that it knows), a row has none, or the
                Delta is at rest.
        """
        self.check_in_use()
        if not isinstance(tasks, AdapterIndex):
            tasks = self._rows.index_for([tasks] if isinstance(tasks, str) else tasks, device_of(self.backbone))
        with self._rows.using(tasks):
            yield self.backbone

    def join(self, model: nn.Module) -> "Delta":
        """Let `encode`, `predict` and the trainers of a model around the backbone know of the Delta; return the Delta.

        Args:
            model: a SentenceTransformer, a CrossEncoder or a relative; for the backbone itself nothing changes.
        """
        if model is not self.backbone and model is not self.around:
            object.__setattr__(self, "around", model)
            if self.in_use:
                self._handles.append(_JoinedModel(self, model))
        return self

    def bake(self, task: str, name: str = "") -> "Delta":
        """Turn one task's adapter into a Delta of its own, on the same backbone and in use.

        The weights that a hypernetwork generates for the task are computed once. The new Delta has a plain method, such
        as Compacter, and gives the same logits without the hypernetwork.

        Args:
            task: one of `tasks`.
            name: the new Delta's name; by default the last part of the task's name.

        Returns:
            The new Delta.

        Raises:
            InputError: the Delta knows no such task, the name is taken, or no task has weights of its own.
        """
        return _bake(self, task, name)

    def merge(self, *, add_biases: bool = False) -> Backbone:
        """Write adapters without a non-linearity into the linear layers before them, and detach the Delta.

        The backbone then computes without the Delta what it computed with it, norms and head included. This cannot be
        undone: load the backbone again.

        Args:
            add_biases: give linear layers without a bias one, where an adapter's biases need it. `save_pretrained`
                writes it, but `from_pretrained` does not read it back.

        Returns:
            The backbone.

        Raises:
            InputError: the adapters are not linear (`activation="identity"` is), have norms of their own, hold several
                tasks, or do not stand behind linear layers; or the backbone's tensors cannot be written. The error says
                all of it, and nothing is changed.
        """
        return _merge(self, add_biases=add_biases)

    def add_task(
        self,
        task: str,
        like: str = "",
        *,
        outputs: int | None = None,
        description: str | Sequence[str] = "",
        examples: Sequence[tuple[str, str]] = (),
        tokenizer: Any = None,
    ) -> None:
        """Add a task: from a description or examples of it, as a copy of another task's adapter, or as the mean of all.

        Make the optimizer afterwards, because tensors with an adapter axis are replaced by longer ones.

        Args:
            task: the new task's name.
            like: the task that it starts from; empty: the mean of all tasks.
            outputs: the number of outputs of its head; None: as many as the tasks have that it starts from. The last
                layer starts from those of them with as many; where there are none, it is drawn from torch's global
                generator.
            description: what the task asks, in one or several wordings, for a Delta whose method reads descriptions
                (`task_source="description"`): nothing needs to be trained then.
            examples: up to 16 pairs of a text and its answer, for a Delta whose method reads examples.
            tokenizer: the backbone's; None: the one that is beside its weights.

        Raises:
            InputError: the Delta has the task already, has no task `like`, or was attached with fewer than two tasks;
                the size of its head is not known, or is given where there is no head, or is not that of the head that
                all tasks share; or the Delta does not read what is given, as for `describe`.
        """
        said = _said(self, like, description, examples)
        if said:
            _add_described(self, task, outputs, said, tokenizer)
        else:
            _add_task(self, task, like, outputs)

    def describe(self, said: Mapping[str, str | Sequence[str]], tokenizer: Any = None) -> None:
        """Say what tasks ask, for a method that reads it (`task_source`): before training, and for more wordings.

        A task's state is the mean of the frozen backbone's last states over all tokens, and over all texts. In training
        the texts of a task are mixed at random. Descriptions are saved with the Delta; examples are not.

        Args:
            said: by task, a text or several: descriptions, or up to 16 examples as `ha.write_example` writes them.
            tokenizer: the backbone's; None: the one that is beside its weights.

        Raises:
            InputError: the Delta reads nothing or knows no such task; a text is empty, or longer than the backbone
                reads; or another thread computes with the Delta.
        """
        _describe(self, said, tokenizer)

    def train_only(self, task: str | None) -> None:
        """Train only what one task has for itself, and freeze the rest.

        Make the optimizer afterwards, because the parameters that train are other ones than before.

        Args:
            task: one of `tasks`; None: train everything that the method trains.

        Raises:
            InputError: the Delta knows no such task, or its tasks share all tensors.
        """
        number = None if task is None else self._rows.number(task)
        if number is not None and not any(part.per_adapter() for _, part in self._named_parts()):
            raise InputError(
                f"{type(self.method).__name__} has nothing of its own for a task, so with the rest frozen nothing is "
                "left to train. Use a method in which each task has tensors of its own."
            )
        self._settle()
        if self.in_use:
            _freeze(self._whole().values())
        self._entry = None if number is None else _TaskEntry(dict(self._named_parts()), number)
        self._frozen = set()
        self._generation.forget()
        change = _unfreeze if self.in_use else _freeze
        change(self.trained().values())

    def check_in_use(self) -> None:
        """Raise InputError if the backbone computes without this Delta."""
        if not self.in_use:
            raise InputError(
                f"the Delta {self.name!r} is at rest: the backbone does not compute with it. Call its `use` first."
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> "Delta":
        """Copy the Delta with its backbone.

        Raises:
            InputError: a part of the backbone is copied by itself, in which the hooks would be those of another Delta.
        """
        if id(self.backbone) not in memo and any(id(module) in memo for module in self.backbone.modules()):
            raise InputError(
                f"a module of the backbone is copied by itself while it computes with the Delta {self.name!r}, as "
                "get_peft_model copies a head (modules_to_save, or a task_type with one). Call the Delta's `detach` "
                "first, or copy the backbone as a whole."
            )
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__setstate__(copy.deepcopy(self.__dict__, memo))  # type: ignore[no-untyped-call]
        return copied

    def _check_idle(self) -> None:
        """Raise InputError if another thread computes with this Delta, whose pass would continue without it."""
        if self._generation.computed_elsewhere:
            raise InputError(
                f"another thread computes with the Delta {self.name!r}, so it cannot be switched now: wait for that "
                "pass, or use one backbone for each thread that switches."
            )

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: what it is, and what it trains."""
        counted = count_delta(self)
        rows = {
            "method": type(self.method).__name__,
            "backbone": f"{type(self.backbone).__name__}, {counted.total:,} parameters",
            **({"tasks": few_names(self.tasks)} if self.tasks else {}),
            "trained parameters": f"{counted.trained:,} ({counted.percent:.3f} %)",
            "by kind": counted.by_kind,
            "size": human_bytes(counted.bytes),
            "in use": "yes" if self.in_use else "no",
        }
        return html_table(f"Delta {self.name}", rows)

    def extra_repr(self) -> str:
        return f"{self.name!r}, {self.method}"

    def _named_parts(self) -> Iterator[tuple[str, Part]]:
        yield from self.parts.items()  # type: ignore[misc]

    def _whole(self) -> dict[str, nn.Parameter]:
        """Return every parameter that the method trains, by its name in saved files."""
        return {
            f"{name}.{key}": tensor
            for name, part in self._named_parts()
            for key, tensor in part.trained(self.backbone).items()
        }

    def _settle(self) -> None:
        """Copy what the task of `train_only` has learned into the parts."""
        if self._entry is not None:
            self._entry.write_back(dict(self._named_parts()))

    def _let_train(self) -> None:
        """Enable gradients for the tensors that train; a Delta that a pool manages trains nothing."""
        change = _freeze if self.slots else _unfreeze
        change(self.trained().values())

    def _install(self) -> None:
        """Register all hooks, and state what the backbone and a model around it are to know."""
        self._handles = _install_hooks(self, self._generation)
        if self.around is not None:
            self._handles.append(_JoinedModel(self, self.around))
        self._state_classes()

    def _make(self, rows: AdapterIndex) -> dict[str, Any]:
        """Compute what every part needs for one pass over these rows; errors as `_compute_parts`."""
        return _compute_parts(self, self._entry, rows)
