"""Answers to rows that name their task: every batch mixes tasks, each row with its own adapter."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from hyperadapters._utils import InputError, resolve_task
from hyperadapters.delta import CONFIG, Delta
from hyperadapters.methods import method_from_json
from hyperadapters.serving.pool import FEWEST_SLOTS, Pool, adapter_recipe
from hyperadapters.serving.predictor import ROWS_AT_ONCE, Predictor, load_predictor, saved_task
from hyperadapters.storage import backbone_of, load, read_config
from hyperadapters.tasks import TaskFormat, iterate_tasks
from hyperadapters.training import ENCODINGS, Encoded, Evaluation, Text, batches_by_length, encode, evaluating


class Place(NamedTuple):
    """Where a task's adapter lies, and the task's name inside it where it holds several."""

    folder: Path
    inner: str = ""


@dataclass(frozen=True)
class Served:
    """A task that rows name, and how it is answered."""

    name: str
    """Among the adapters that one batch can mix; empty where there is but one."""
    group: str
    """Which adapters these are."""
    pooled: bool
    """Whether they are in a pool, and not tasks of one Delta."""
    place: Place
    form: TaskFormat
    text: Text
    evaluation: Evaluation
    precision: str
    """The type that its backbone is held in."""


def places(folder: Path) -> dict[str, Place]:
    """Every task that a folder's adapters answer: a sub-folder's name, and behind it that of one of several tasks.

    Raises:
        InputError: there is no adapter in it, or one is damaged.
    """
    if (folder / CONFIG).is_file():
        return {name: Place(folder, name) for name in read_config(folder)["tasks"]}
    found: dict[str, Place] = {}
    for config in sorted(folder.rglob(CONFIG)):
        name, tasks = config.parent.relative_to(folder).as_posix(), read_config(config.parent)["tasks"]
        found |= {f"{name}/{task}": Place(config.parent, task) for task in tasks} or {name: Place(config.parent)}
    if not found:
        raise InputError(
            f"there is no adapter at {folder}: neither it nor a folder in it has an {CONFIG}. Name a folder that "
            "`train` wrote, or one with such folders in it."
        )
    return found


class Alone:
    """A Delta where a pool might be: its one task, or those that it holds."""

    slots = 0
    """It has all its tasks in memory."""

    def __init__(self, delta: Delta) -> None:
        self.delta = delta

    def use(self) -> None:
        """Make it what the backbone computes with."""
        self.delta.use()

    def prefetch(self, names: Sequence[str]) -> None:
        """Nothing: all of it is in memory."""

    def rows(self, names: Sequence[str]) -> AbstractContextManager[nn.Module]:
        """The context in which each row has its task."""
        return self.delta.rows(names) if self.delta.tasks else nullcontext(self.delta.backbone)


class Batch(NamedTuple):
    """Rows, by number, that are computed together: adapters that mix, answers obtained alike."""

    group: str
    mode: str
    target_length: int
    beams: int
    rows: list[int]


@dataclass
class Server:
    """A folder of adapters, each in a sub-folder with its task's name, or one adapter that holds several tasks.

    Adapters of one method and backbone are pooled, so that a batch mixes their tasks; the others take turns.
    """

    folder: Path
    backbone: str = ""
    """Another place to load the backbone from than the one that the adapters name."""
    batch_size: int = 128
    """Rows answered together."""
    resident: int = 256
    """How many adapters of a pool memory may hold."""
    truncated: int = 0
    """Texts so far that were cut to the length of training."""
    counts: Counter[str] = field(default_factory=Counter)
    """Rows to answer, by task."""

    def __post_init__(self) -> None:
        """Find the tasks; nothing is loaded."""
        self.known = places(self.folder)
        self.served: dict[str, Served] = {}
        self.groups: dict[str, Pool | Alone] = {}

    def task(self, name: str) -> Served:
        """The task that rows call so.

        Raises:
            InputError: there is no adapter for it, or the adapter does not say its task.
        """
        if name not in self.served:
            full = resolve_task(name, self.known, f"the folder {self.folder}")
            place = self.known[full]
            config = read_config(place.folder)
            form, text, how = saved_task(config, place.folder, place.inner)
            if form.style == "conversation":
                raise InputError(f"{full} answers conversations, one adapter at a time: name it with --task.")
            pooled = not config["tasks"] and method_from_json(config["method"]).separable
            group = json.dumps(adapter_recipe(config, place.folder), sort_keys=True) if pooled else str(place.folder)
            held = config["backbone"]["precision"]
            self.served[name] = Served(full if pooled else place.inner, group, pooled, place, form, text, how, held)
        return self.served[name]

    def file(self, path: Path) -> Iterator[dict[str, str]]:
        """The rows of a file, each with its `prediction`, in order, as a stream. All rows are checked before the first.

        Raises:
            InputError: a row names no task or one without an adapter, or lacks one of its task's columns.
        """
        self.counts = Counter(task for task, _ in iterate_tasks(path, self.fields))
        if not self.counts:
            return
        self.load()
        rows = iterate_tasks(path, self.fields)
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            answers = self.answers([(task, row.values) for task, row in chunk])
            for (task, row), prediction in zip(chunk, answers, strict=True):
                yield {"task": task, **row.values, "prediction": prediction}

    @property
    def limit(self) -> str:
        """How long texts may be, in words."""
        return "their tasks' limits of training"

    def fields(self, task: str) -> tuple[str, ...]:
        """The columns of a task."""
        return self.task(task).form.fields

    def load(self) -> None:
        """Load the backbone, and make ready the adapters of the tasks that there are rows of.

        Raises:
            InputError: an adapter was trained on another backbone or one held in another type, or there is none.
        """
        held = {served.precision: task for task, served in self.served.items()}
        if len(held) > 1:
            which = ", ".join(f"{task} on {precision}" for precision, task in held.items())
            raise InputError(f"adapters of backbones held in different types are answered apart: {which}.")
        first = next(iter(self.served.values()))
        model, self.tokenizer = backbone_of(read_config(first.place.folder), self.backbone)
        members: dict[str, list[Served]] = defaultdict(list)
        for served in self.served.values():
            members[served.group].append(served)
        for number, (group, own) in enumerate(members.items()):
            called = f"group {number}"
            if own[0].pooled:
                folders = {served.name: served.place.folder for served in own}
                slots = max(FEWEST_SLOTS, min(self.resident, len(folders)))
                self.groups[group] = Pool(model, folders, resident=slots, name=called)
            else:
                self.groups[group] = Alone(load(own[0].place.folder, model, name=called))

    def answers(self, rows: Sequence[tuple[str, dict[str, str]]]) -> list[str]:
        """The answers to rows of tasks that were made ready, in order."""
        tasks = [self.task(task) for task, _ in rows]
        encoded = self.encoded(tasks, [values for _, values in rows])
        found: dict[int, str] = {}
        batches = self.batches(tasks, encoded)
        for batch, following in zip(batches, [*batches[1:], None], strict=True):
            group = self.groups[batch.group]
            group.use()
            with group.rows([tasks[i].name for i in batch.rows]) as backbone, evaluating(backbone):
                if following:
                    self.groups[following.group].prefetch([tasks[i].name for i in following.rows])
                texts = self.kind(batch.group).answer(
                    backbone,
                    [encoded[i] for i in batch.rows],
                    [tasks[i].form for i in batch.rows],
                    self.tokenizer,
                    batch.mode,
                    batch.target_length,
                    batch.beams,
                )
            found |= dict(zip(batch.rows, texts, strict=True))
        return [found[i] for i in range(len(rows))]

    def kind(self, group: str) -> Any:
        """What the kind of the backbone does."""
        return ENCODINGS[self.groups[group].delta.structure.kind]

    def encoded(self, tasks: Sequence[Served], values: Sequence[dict[str, str]]) -> list[Encoded]:
        """Rows in tokens, as their tasks were trained."""
        found: dict[int, Encoded] = {}
        numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
        for i, task in enumerate(tasks):
            numbers[task.group, task.name].append(i)
        for own in numbers.values():
            form, text, kind = tasks[own[0]].form, tasks[own[0]].text, self.kind(tasks[own[0]].group).name
            examples = [form.example(values[i], prefix=text.prefix) for i in own]
            rows, cut = encode(examples, form, self.tokenizer, text, kind)
            self.truncated += cut.sources
            found |= dict(zip(own, rows, strict=True))
        return [found[i] for i in range(len(tasks))]

    def batches(self, tasks: Sequence[Served], rows: Sequence[Encoded]) -> list[Batch]:
        """Rows that can be computed together, in batches of like length and of no more tasks than a pool holds."""
        together: dict[tuple[str, str, int, int], list[int]] = defaultdict(list)
        for i, task in enumerate(tasks):
            mode = self.kind(task.group).mode(task.form, task.evaluation.decode)
            generation = (task.text.target_length, task.evaluation.beams) if mode == "generate" else (0, 1)
            together[task.group, mode, *generation].append(i)
        found = []
        for (group, mode, length, beams), numbers in together.items():
            size, slots = self.batch_size, self.groups[group].slots
            if slots and len({tasks[i].name for i in numbers}) > slots:
                size = min(size, slots)
            lengths = [self.kind(group).length(rows[i]) for i in numbers]
            for batch in batches_by_length(lengths, size):
                found.append(Batch(group, mode, length, beams, [numbers[i] for i in batch]))
        return found


def open_predictor(
    folder: Path, *, task: str = "", backbone: str = "", by_row: bool = False, resident: int = 256
) -> Predictor | Server:
    """What answers for an adapter, or for a folder of them.

    Args:
        folder: one adapter, or a folder with one in each sub-folder.
        task: which task, where there are several; the last part of its name will do.
        backbone: another place to load the backbone from.
        by_row: where there are several tasks and none is named, let every row name its own.
        resident: how many adapters memory may hold.

    Raises:
        InputError: there is no adapter, or it does not know the task.
    """
    alone = (folder / CONFIG).is_file()
    if by_row and not task and not (alone and not read_config(folder)["tasks"]):
        return Server(folder, backbone, resident=resident)
    if not alone and task:
        known = places(folder)
        folder, task = known[resolve_task(task, known, f"the folder {folder}")]
    return load_predictor(folder, backbone or None, task=task)
