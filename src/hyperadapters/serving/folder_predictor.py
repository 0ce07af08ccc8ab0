"""Answers to rows that name their task: every batch mixes tasks, each row with its own adapter."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from hyperadapters._utils import InputError, expand_path, resolve_task
from hyperadapters.delta import CONFIG, Delta
from hyperadapters.methods import method_from_json
from hyperadapters.serving.pool import _FEWEST_SLOTS, Pool
from hyperadapters.serving.pool_slots import _adapter_recipe
from hyperadapters.serving.prediction_file import _answered_row, _check_scored, _check_unanswered
from hyperadapters.serving.predictor import _ROWS_AT_ONCE, Predictor, load_predictor
from hyperadapters.serving.saved_tasks import _AdapterPlace, _find_tasks, saved_task
from hyperadapters.serving.task_batches import _Batch, _plan_batches, _ServedTask
from hyperadapters.storage import Collection, backbone_of, load, locate_adapters, read_config
from hyperadapters.tasks import AS_USUAL, Reading, iterate_tasks
from hyperadapters.training import (
    ENCODINGS,
    Encoded,
    encode,
    evaluating,
    in_row_order,
    label_probabilities,
    using_tasks,
)

_ROWS = {"conversation": "turns", "words": "words"}
"""What the rows of some styles hold, which are not answered beside others."""


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


@dataclass
class _FolderPredictor:
    """A folder of adapters, each in a sub-folder with its task's name, or one adapter that holds several tasks.

    Adapters of one method and backbone are pooled, so that a batch mixes their tasks; the others take turns.
    """

    folder: Path | Collection
    """A folder, or a repository of the Hub, of which only the adapters that rows name are fetched."""
    backbone: str = ""
    """Another place to load the backbone from than the one that the adapters name."""
    batch_size: int = 128
    """Rows answered together."""
    resident: int = 256
    """How many adapters of a pool may be in memory."""
    truncated: int = 0
    """Texts so far that were cut to the length of training."""
    counts: Counter[str] = field(default_factory=Counter)
    """Rows to answer, by task."""

    def __post_init__(self) -> None:
        """Find the tasks; nothing is loaded."""
        self._known = _find_tasks(self.folder)
        self._served: dict[str, _ServedTask] = {}
        self.groups: dict[str, Pool | _SingleDelta] = {}

    @property
    def limit(self) -> str:
        """The longest texts that are not cut, in words."""
        return "their tasks' limits of training"

    def file(self, path: Path, *, top: int | None = 0, reading: Reading = AS_USUAL) -> Iterator[dict[str, Any]]:
        """Yield the rows of a file in order, with all their columns and a `prediction`; all are checked before that.

        Args:
            path: the file.
            top: how many labels of each row to give with their probabilities, as `scores`; None: all.
            reading: how the file is read.

        Raises:
            InputError: a row names no task or one without an adapter, lacks one of its task's columns, or has a column
                `prediction` already. Scores are asked for, and a task's answers are no labels.
        """
        path = expand_path(path)
        self.counts = Counter()
        if isinstance(self.folder, Collection):
            named = {task for task, _ in iterate_tasks(path, lambda _: (), reading)}
            self.folder.fetch(resolve_task(task, self._known, _in_words(self.folder)) for task in sorted(named))
        for task, row in iterate_tasks(path, self._fields, reading):
            _check_unanswered(row.given, row.place, scored=top != 0)
            if top != 0 and task not in self.counts:
                _check_scored(self._task(task).form)
            self.counts[task] += 1
        if not self.counts:
            return
        self._load()
        rows = iterate_tasks(path, self._fields, reading)
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            answers = self._answers([(task, row.values) for task, row in chunk], top)
            for (task, row), answer in zip(chunk, answers, strict=True):
                shown = self._task(task).form.target.present(answer) if top == 0 else answer
                yield _answered_row(row.given, shown)

    def _fields(self, task: str) -> tuple[str, ...]:
        return self._task(task).form.fields

    def _task(self, name: str) -> _ServedTask:
        """Return the task of this name; the last part will do.

        Raises:
            InputError: there is no adapter for it, or the adapter does not say its task.
        """
        if name not in self._served:
            full = resolve_task(name, self._known, _in_words(self.folder))
            place = self._known[full]
            config = read_config(place.folder)
            form, text, evaluation = saved_task(config, place.folder, place.inner)
            if form.style in ("conversation", "words"):
                raise InputError(
                    f"{full} answers rows of {_ROWS[form.style]}, one adapter at a time: name it with --task."
                )
            pooled = not config["tasks"] and method_from_json(config["method"]).separable
            group = json.dumps(_adapter_recipe(config, place.folder), sort_keys=True) if pooled else str(place.folder)
            inside, precision = full if pooled else place.inner, config["backbone"]["precision"]
            self._served[name] = _ServedTask(inside, group, pooled, place, form, text, evaluation, precision)
        return self._served[name]

    def _load(self) -> None:
        """Load the backbone, and prepare the adapters of the tasks that rows name.

        Raises:
            InputError: an adapter was trained on another backbone or one of another type, or there is none.
        """
        precisions = {served.precision: task for task, served in self._served.items()}
        if len(precisions) > 1:
            which = ", ".join(f"{task} on {precision}" for precision, task in precisions.items())
            raise InputError(
                f"adapters of backbones in different types cannot be answered together: {which}. Split the file."
            )
        first = next(iter(self._served.values()))
        model, self._tokenizer = backbone_of(read_config(first.place.folder), self.backbone)
        members: dict[str, list[_ServedTask]] = defaultdict(list)
        for served in self._served.values():
            members[served.group].append(served)
        for number, (group, tasks) in enumerate(members.items()):
            self.groups[group] = self._load_group(tasks, model, f"group {number}")

    def _load_group(self, tasks: Sequence[_ServedTask], backbone: nn.Module, name: str) -> Pool | _SingleDelta:
        if not tasks[0].pooled:
            return _SingleDelta(load(tasks[0].place.folder, backbone, name=name))
        folders = {task.name: task.place.folder for task in tasks}
        return Pool(backbone, folders, resident=max(_FEWEST_SLOTS, min(self.resident, len(folders))), name=name)

    def _answers(self, rows: Sequence[tuple[str, dict[str, str]]], top: int | None) -> list[Any]:
        """Return the answers to rows of loaded tasks, in order; unless `top` is 0, labels with probabilities."""
        tasks = [self._task(task) for task, _ in rows]
        if top != 0:
            tasks = [replace(task, evaluation=replace(task.evaluation, decode="score")) for task in tasks]
        encoded = self._encoded(tasks, [values for _, values in rows])
        deltas = {name: group.delta for name, group in self.groups.items()}
        batches = _plan_batches(tasks, encoded, deltas, self.batch_size)
        nexts = [*batches[1:], None]
        answers = [
            self._answer(batch, following, tasks, encoded, top) for batch, following in zip(batches, nexts, strict=True)
        ]
        return in_row_order([(batch.numbers, found) for batch, found in zip(batches, answers, strict=True)])

    def _answer(
        self,
        batch: _Batch,
        following: _Batch | None,
        tasks: Sequence[_ServedTask],
        rows: Sequence[Encoded],
        top: int | None,
    ) -> list[Any]:
        """Return the answers to one batch, while the adapters of the following one are read."""
        group, own = self.groups[batch.group], [tasks[i] for i in batch.numbers]
        group.use()
        with group.rows([task.name for task in own]) as backbone, evaluating(backbone):
            if following:
                self.groups[following.group].prefetch([tasks[i].name for i in following.numbers])
            encoding, forms = ENCODINGS[group.delta.structure.kind], [task.form for task in own]
            inputs = [rows[i] for i in batch.numbers]
            if top == 0:
                return encoding.answer(backbone, inputs, forms, self._tokenizer, batch.decoding)
            scores = encoding.score_labels(backbone, inputs, forms, self._tokenizer)
            return label_probabilities(scores, forms, top)

    def _encoded(self, tasks: Sequence[_ServedTask], values: Sequence[dict[str, str]]) -> list[Encoded]:
        """Return rows in tokens, as their tasks were trained."""
        found: dict[int, Encoded] = {}
        by_task: dict[tuple[str, str], list[int]] = defaultdict(list)
        for i, task in enumerate(tasks):
            by_task[task.group, task.name].append(i)
        for (group, _), numbers in by_task.items():
            form, text = tasks[numbers[0]].form, tasks[numbers[0]].text
            examples = [form.example(values[i], prefix=text.prefix) for i in numbers]
            rows, cut = encode(examples, form, self._tokenizer, text, self.groups[group].delta.structure.kind)
            self.truncated += cut.sources
            found |= dict(zip(numbers, rows, strict=True))
        return [found[i] for i in range(len(tasks))]


def open_predictor(
    folder: str | Path,
    *,
    task: str = "",
    backbone: str = "",
    by_row: bool = False,
    resident: int = 256,
    scored: bool = False,
) -> Predictor | _FolderPredictor:
    """Return what answers for an adapter, or for a folder of them.

    Args:
        folder: one adapter, or a folder with one in each sub-folder; or its name on the Hub, as for `ha.load`.
        task: which task, where there are several; the last part of its name will do.
        backbone: another place to load the backbone from.
        by_row: where there are several tasks and none is named, let every row name its own.
        resident: how many adapters may be in memory.
        scored: whether probabilities will be asked for.

    Raises:
        InputError: there is no adapter, it does not know the task, or its answers have no probabilities.
    """
    found = locate_adapters(folder)
    alone = isinstance(found, Path) and (found / CONFIG).is_file()
    of_one_task = isinstance(found, Path) and alone and not read_config(found)["tasks"]
    if by_row and not task and not of_one_task:
        return _FolderPredictor(found, backbone, resident=resident)
    if isinstance(found, Collection) or (task and not alone):
        found, task = _find_adapter(found, task)
    if scored:
        form, *_ = saved_task(read_config(found), found, task)
        _check_scored(form)
    return load_predictor(found, backbone or None, task=task)


def _find_adapter(folder: Path | Collection, task: str) -> _AdapterPlace:
    """Return where the adapter of a task lies in a folder of many or, once it is fetched, in a repository.

    Raises:
        InputError: there is no adapter of this task; the error names those there are.
    """
    known = _find_tasks(folder)
    whole = resolve_task(task, known, _in_words(folder))
    if isinstance(folder, Collection):
        folder.fetch([whole])
    return known[whole]


def _in_words(folder: Path | Collection) -> str:
    return f"the repository {folder.name}" if isinstance(folder, Collection) else f"the folder {folder}"
