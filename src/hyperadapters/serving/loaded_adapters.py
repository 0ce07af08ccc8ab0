"""Adapters that answer: their backbones, and the pools and Deltas that stand on them."""

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, NamedTuple

from torch import nn

from hyperadapters._utils import InputError, stated_checksum
from hyperadapters.backbones import BackboneKind, kind_of, positions_of
from hyperadapters.delta import TENSORS, Delta
from hyperadapters.serving.catalogue import ServedTask
from hyperadapters.serving.pool import _FEWEST_SLOTS, Pool
from hyperadapters.storage import backbone_of, load
from hyperadapters.training import (
    ENCODINGS,
    Decoding,
    Encoded,
    RowGeneration,
    embed_texts,
    encode,
    encode_texts,
    evaluating,
    label_probabilities,
    using_tasks,
)


class _Loaded(NamedTuple):
    """A backbone."""

    model: nn.Module
    tokenizer: Any
    """For the thread that computes: a tokenizer cannot be used by two threads at once."""
    encoding_tokenizer: Any
    """For the thread that makes tokens."""
    kind: BackboneKind


class _SingleDelta:
    """A Delta in the place of a pool: its one task, or those that it holds."""

    def __init__(self, delta: Delta) -> None:
        self.delta = delta

    def use(self) -> None:
        """Make it what the backbone computes with."""
        self.delta.use()

    def prefetch(self, names: Sequence[str]) -> None:
        """Do nothing: all of it is in memory."""

    def rows(self, names: Sequence[str]) -> AbstractContextManager[nn.Module]:
        """Return the context in which each row uses the adapter of its task."""
        return using_tasks(self.delta, names)

    def detach(self) -> None:
        """Take it off its backbone."""
        self.delta.detach()


class LoadedAdapters:
    """Backbones with the adapters of tasks, which answer batches. One thread computes; another may make tokens.

    Adapters of one method are slots of one pool, so that a batch mixes their tasks. An adapter that cannot share a
    batch is a Delta by itself; only some of those stay attached. There is a backbone for each type of its weights and
    each kind of head that the adapters were trained with.
    """

    def __init__(self, backbone: str = "", *, resident: int = 256, alone: int | None = None) -> None:
        """Load nothing yet.

        Args:
            backbone: another place to load the backbone from than the one that the adapters name.
            resident: how many adapters of a pool may be in memory.
            alone: how many adapters that cannot share a batch may be in memory; None: all that are asked for.
        """
        self.backbone, self.resident, self.alone = backbone, resident, alone
        self._models: dict[tuple[str, str], _Loaded] = {}
        self._groups: OrderedDict[str, Pool | _SingleDelta] = OrderedDict()
        self._versions: dict[str, set[str]] = {}
        """Of every task in a pool, what the pool calls its versions."""
        self._alone_tasks: dict[str, set[str]] = {}
        """The tasks that were asked of each Delta that stands by itself."""
        self._number = 0
        self._loads = self._detached = 0
        """How many Deltas were loaded by themselves, and how many of them have made room."""

    def load_backbone(self, task: ServedTask) -> None:
        """Load the backbone that a task needs, unless it is there.

        The first adapter says where the backbone lies, for all others too: an adapter that comes later cannot have
        another one fetched.

        Raises:
            InputError: there is none, or its adapter is damaged.
        """
        key = (task.precision, task.head)
        if key not in self._models:
            self.backbone = self.backbone or task.config["backbone"]["name"]
            model, tokenizer = backbone_of(task.config, self.backbone)
            self._models[key] = _Loaded(model, tokenizer, copy.deepcopy(tokenizer), kind_of(model.config))

    def has_backbone(self, task: ServedTask) -> bool:
        """Return whether the backbone that a task needs is there."""
        return (task.precision, task.head) in self._models

    def has_group(self, group: str) -> bool:
        """Return whether a group of tasks stands on a backbone."""
        return group in self._groups

    def delta_of(self, task: ServedTask) -> Delta:
        """Return the Delta of an open task's group."""
        return self._groups[task.group].delta

    def using(self, task: ServedTask, rows: int) -> AbstractContextManager[nn.Module]:
        """Return the context in which so many rows use the adapter of an open task, whose group is put in use."""
        group = self._groups[task.group]
        group.use()
        return group.rows([task.key] * rows)

    def pad(self, task: ServedTask) -> int:
        """Return the token that fills up the rows of a task."""
        found: int = self._loaded(task).tokenizer.pad_token_id
        return found

    def loads(self) -> int:
        """Return how many adapters were read so far."""
        return self._loads + sum(pool.loads for pool in self._pools())

    def evictions(self) -> int:
        """Return how many adapters have made room for others so far."""
        return self._detached + sum(pool.evictions for pool in self._pools())

    def held(self) -> int:
        """Return how many adapters are in memory."""
        pools = self._pools()
        return len(self._groups) - len(pools) + sum(len(pool.resident) for pool in pools)

    def _pools(self) -> list[Pool]:
        return [group for group in tuple(self._groups.values()) if isinstance(group, Pool)]

    def open(self, tasks: Sequence[ServedTask], *, last: bool = False) -> None:
        """Prepare the adapters of tasks, whose tensors are read when a batch needs them.

        Args:
            tasks: to be answered.
            last: no other tasks will be opened, so that a pool takes no more slots than it has adapters.

        Raises:
            InputError: an adapter is damaged, or was trained on another backbone.
        """
        members: dict[str, list[ServedTask]] = defaultdict(list)
        for task in tasks:
            members[task.group].append(task)
        for group, own in members.items():
            self.load_backbone(own[0])
            if group not in self._groups:
                self._groups[group] = self._open_group(own, last)
            self._groups.move_to_end(group)
            found = self._groups[group]
            if isinstance(found, Pool):
                self._add(found, own)
            else:
                self._alone_tasks.setdefault(group, set()).update(task.name for task in own)
        self._detach_oldest({*members})

    def _open_group(self, tasks: Sequence[ServedTask], last: bool) -> Pool | _SingleDelta:
        model = self._loaded(tasks[0]).model
        name, self._number = f"group {self._number}", self._number + 1
        if not tasks[0].pooled:
            return self._load_alone(tasks[0], model, name)
        slots = min(self.resident, len(tasks)) if last else self.resident
        first = {tasks[0].key: tasks[0].place.folder}
        pool = Pool(model, first, resident=max(_FEWEST_SLOTS, slots), name=name)
        pool.drop(tasks[0].key)  # `_add` takes it again, with its version
        return pool

    def _load_alone(self, task: ServedTask, model: nn.Module, name: str) -> _SingleDelta:
        """Return the Delta of an adapter that cannot share a batch.

        Raises:
            InputError: it is damaged, or its files are not those that were looked at.
        """
        found = _SingleDelta(load(task.place.folder, model, name=name))
        if stated_checksum(task.place.folder / TENSORS) != task.version:
            found.detach()
            raise InputError(f"{task.place.folder} was replaced since it was first looked at: take the adapter again.")
        self._loads += 1
        return found

    def _add(self, pool: Pool, tasks: Sequence[ServedTask]) -> None:
        """Add tasks to a pool, and take other versions of them out of it."""
        for task in tasks:
            if task.key not in pool:
                pool._join(task.key, task.place.folder, task.config, task.version)
        wanted = {task.key for task in tasks}
        for task in tasks:
            keys = self._versions.setdefault(task.name, set())
            for other in keys - wanted:
                self._drop(other)
            self._versions[task.name] = (keys & wanted) | {task.key}

    def _drop(self, key: str) -> None:
        """Take an adapter out of the pool that has it."""
        for pool in self._pools():
            if key in pool:
                pool.drop(key)

    def _detach_oldest(self, needed: set[str]) -> None:
        """Detach the Deltas used longest ago, where more stand by themselves than may."""
        alone = [name for name, group in self._groups.items() if isinstance(group, _SingleDelta)]
        spare = [name for name in alone if name not in needed]
        for name in spare[: max(0, len(alone) - self.alone)] if self.alone is not None else []:
            self._groups.pop(name).detach()
            self._alone_tasks.pop(name, None)
            self._detached += 1

    def forget(self, names: Sequence[str]) -> None:
        """Give up what is in memory of tasks, by their whole names."""
        for name in names:
            for key in self._versions.pop(name, ()):
                self._drop(key)
        for group in [group for group, own in self._alone_tasks.items() if own <= {*names}]:
            del self._alone_tasks[group]
            if group in self._groups:
                self._groups.pop(group).detach()

    def prefetch(self, tasks: Sequence[ServedTask]) -> None:
        """Read the adapters of open tasks of one group in the background, for a later batch."""
        self._groups[tasks[0].group].prefetch([task.key for task in tasks])

    def check(self, tasks: Sequence[ServedTask]) -> None:
        """Read the adapters of open tasks of one group into memory.

        Raises:
            InputError: one is damaged.
        """
        group = self._groups[tasks[0].group]
        if isinstance(group, Pool):
            group.fetch([task.key for task in tasks])

    def close(self) -> None:
        """Take all adapters off their backbones."""
        while self._groups:
            self._groups.popitem()[1].detach()

    def encode(self, tasks: Sequence[ServedTask], values: Sequence[Mapping[str, Any]]) -> tuple[list[Encoded], int]:
        """Return rows in tokens, as their tasks were trained, and how many were cut to the length of training.

        Args:
            tasks: of each row; their backbones are loaded.
            values: the columns of each row.

        Raises:
            InputError: a row is none of its task.
        """
        found: dict[int, Encoded] = {}
        truncated = 0
        by_task: dict[str, list[int]] = defaultdict(list)
        for i, task in enumerate(tasks):
            by_task[task.name].append(i)
        for numbers in by_task.values():
            rows, cut = self._encode_task(tasks[numbers[0]], [values[i] for i in numbers])
            found |= dict(zip(numbers, rows, strict=True))
            truncated += cut
        return [found[i] for i in range(len(tasks))], truncated

    def _encode_task(self, task: ServedTask, values: Sequence[Mapping[str, Any]]) -> tuple[list[Encoded], int]:
        """Return rows of one task in tokens, and how many were cut."""
        loaded = self._loaded(task)
        if task.embeds:
            (column,) = task.form.fields
            texts = [row[column] for row in values]
            return encode_texts(texts, loaded.encoding_tokenizer, positions_of(loaded.model))
        examples = [task.form.example(row, prefix=task.text.prefix) for row in values]
        rows, cut = encode(examples, task.form, loaded.encoding_tokenizer, task.text, loaded.kind)
        return rows, cut.sources

    def kind(self, task: ServedTask) -> BackboneKind:
        """Return the kind of a task's backbone, which is loaded."""
        return self._loaded(task).kind

    def decode(self, task: ServedTask, tokens: Sequence[int], *, computing: bool = False) -> str:
        """Return tokens that a task's backbone wrote as text, without special tokens.

        Args:
            task: whose backbone is loaded.
            tokens: what it wrote.
            computing: whether this is the thread that computes, and not the one that makes tokens.
        """
        loaded = self._loaded(task)
        tokenizer = loaded.tokenizer if computing else loaded.encoding_tokenizer
        found: str = tokenizer.decode(tokens, skip_special_tokens=True)
        return found

    def count(self, task: ServedTask, text: str) -> int:
        """Return the number of tokens of an answer, for the thread that computes; 0 where a head answers."""
        loaded = self._loaded(task)
        return len(loaded.tokenizer(text).input_ids) if loaded.kind != "encoder" else 0

    def room(self, task: ServedTask, row: Encoded) -> int | None:
        """Return how many tokens a backbone with a table of positions can write for a row; None: any number."""
        loaded = self._loaded(task)
        most = positions_of(loaded.model)
        return None if most is None else max(1, most - (len(row.source) if loaded.kind == "decoder" else 2))

    def decoding(self, task: ServedTask) -> Decoding:
        """Return how the answers of a task are obtained; tasks of a group whose decoding is equal share batches.

        Args:
            task: whose backbone is loaded.
        """
        return ENCODINGS[self.kind(task)].decoding(task.form, task.text.target_length, task.evaluation)

    def length(self, task: ServedTask, row: Encoded) -> int:
        """Return the length in tokens by which rows are grouped into batches."""
        return ENCODINGS[self.kind(task)].length(row)

    def _loaded(self, task: ServedTask) -> _Loaded:
        return self._models[task.precision, task.head]

    def answer(
        self,
        tasks: Sequence[ServedTask],
        rows: Sequence[Encoded],
        decoding: Decoding,
        generated: Sequence[RowGeneration] = (),
        following: Sequence[ServedTask] = (),
    ) -> list[str]:
        """Return the answers to one batch.

        Args:
            tasks: of each row, open and of one group.
            rows: in tokens.
            decoding: how they are answered.
            generated: settings of each row, as `answer` of an encoding takes them.
            following: the tasks of the next batch's rows, whose adapters are read meanwhile.
        """
        encoding, forms = self._encoding(tasks), [task.form for task in tasks]
        with self._computing(tasks, following) as (backbone, tokenizer):
            found: list[str] = encoding.answer(backbone, rows, forms, tokenizer, decoding, generated)
            return found

    def probabilities(
        self,
        tasks: Sequence[ServedTask],
        rows: Sequence[Encoded],
        following: Sequence[ServedTask] = (),
    ) -> list[dict[str, float]]:
        """Return the labels of one batch's rows with their probabilities, the likeliest first."""
        encoding, forms = self._encoding(tasks), [task.form for task in tasks]
        with self._computing(tasks, following) as (backbone, tokenizer):
            return label_probabilities(encoding.score_labels(backbone, rows, forms, tokenizer), forms)

    def embeddings(
        self, tasks: Sequence[ServedTask], rows: Sequence[Encoded], following: Sequence[ServedTask] = ()
    ) -> list[list[float]]:
        """Return the vectors of one batch's texts: the mean of their tokens' last states, of length 1."""
        with self._computing(tasks, following) as (backbone, tokenizer):
            return embed_texts(backbone, rows, tokenizer).tolist()

    def _encoding(self, tasks: Sequence[ServedTask]) -> Any:
        return ENCODINGS[self.kind(tasks[0])]

    @contextmanager
    def _computing(
        self, tasks: Sequence[ServedTask], following: Sequence[ServedTask]
    ) -> Iterator[tuple[nn.Module, Any]]:
        """Let the rows of a batch use their adapters inside this context, which yields backbone and tokenizer."""
        group = self._groups[tasks[0].group]
        group.use()
        with group.rows([task.key for task in tasks]) as backbone, evaluating(backbone):
            if following:
                with suppress(InputError):  # one that is gone: its own batch will say so
                    self.prefetch(following)
            yield backbone, self._loaded(tasks[0]).tokenizer
