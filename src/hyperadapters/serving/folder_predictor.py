"""Answers to rows that name their task: every batch mixes tasks, each row with its own adapter."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, expand_path
from hyperadapters.delta import CONFIG
from hyperadapters.serving.catalogue import Catalogue, ServedTask, _AdapterPlace
from hyperadapters.serving.loaded_adapters import LoadedAdapters
from hyperadapters.serving.prediction_file import _check_scored, answered_row, check_unanswered, scored_answer
from hyperadapters.serving.predictor import ROWS_AT_ONCE, Predictor, load_predictor
from hyperadapters.serving.saved_tasks import saved_task
from hyperadapters.serving.task_batches import _plan_batches
from hyperadapters.storage import Collection, locate_adapters, read_config
from hyperadapters.tasks import AS_USUAL, Reading, iterate_tasks
from hyperadapters.training import in_row_order

_ROWS = {"conversation": "turns", "words": "words"}
"""What the rows of some styles hold, which are not answered beside others."""


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
        self._catalogue = Catalogue(self.folder)
        self._loaded = LoadedAdapters(self.backbone, resident=self.resident)

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
            self.folder.fetch(map(self._catalogue.resolve, sorted(named)))
        for task, row in iterate_tasks(path, self._fields, reading):
            check_unanswered(row.given, row.place, scored=top != 0)
            if top != 0 and task not in self.counts:
                _check_scored(self._task(task).form, encoder=self._task(task).encoder)
            self.counts[task] += 1
        if not self.counts:
            return
        self._loaded.open([self._task(name) for name in self.counts], last=True)
        rows = iterate_tasks(path, self._fields, reading)
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            answers = self._answers([(task, row.values) for task, row in chunk], top)
            for (task, row), answer in zip(chunk, answers, strict=True):
                shown = self._task(task).form.target.present(answer) if top == 0 else answer
                yield answered_row(row.given, shown)

    def _fields(self, task: str) -> tuple[str, ...]:
        return self._task(task).form.fields

    def _task(self, name: str) -> ServedTask:
        """Return the task of this name; the last part will do.

        Raises:
            InputError: there is no adapter for it, or the adapter does not say its task.
        """
        found = self._catalogue.task(name)
        if found.embeds:
            raise InputError(f"{found.name} has no task, and gives embeddings: `hyperadapters serve`, or ha.load(...).")
        if found.form.style in _ROWS:
            raise InputError(
                f"{found.name} answers rows of {_ROWS[found.form.style]}, one adapter at a time: name it with --task."
            )
        return found

    def _answers(self, rows: Sequence[tuple[str, dict[str, str]]], top: int | None) -> list[Any]:
        """Return the answers to rows of loaded tasks, in order; unless `top` is 0, labels with probabilities."""
        tasks = [self._task(task) for task, _ in rows]
        if top != 0:
            tasks = [replace(task, evaluation=replace(task.evaluation, decode="score")) for task in tasks]
        encoded, cut = self._loaded.encode(tasks, [values for _, values in rows])
        self.truncated += cut
        batches = _plan_batches(tasks, encoded, self._loaded, self.batch_size)
        answered = []
        for batch, following in zip(batches, [*batches[1:], None], strict=True):
            own, inputs = [tasks[i] for i in batch.numbers], [encoded[i] for i in batch.numbers]
            ahead = [tasks[i] for i in following.numbers] if following else []
            found: list[Any] = (
                self._loaded.answer(own, inputs, batch.decoding, following=ahead)
                if top == 0
                else [
                    scored_answer(task.form, shares, top)
                    for task, shares in zip(own, self._loaded.probabilities(own, inputs, ahead), strict=True)
                ]
            )
            answered.append((batch.numbers, found))
        return in_row_order(answered)


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
        config = read_config(found)
        form, *_ = saved_task(config, found, task)
        _check_scored(form, encoder=config["backbone"].get("outputs") is not None)
    return load_predictor(found, backbone or None, task=task)


def _find_adapter(folder: Path | Collection, task: str) -> _AdapterPlace:
    """Return where the adapter of a task lies in a folder of many or, once it is fetched, in a repository.

    Raises:
        InputError: there is no adapter of this task; the error names those there are.
    """
    return Catalogue(folder).place(task)
