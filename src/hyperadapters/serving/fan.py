"""Every task answers each text: one pass of the backbone for all of them, where adapters stand beside it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, expand_path
from hyperadapters.serving.catalogue import Catalogue, ServedTask
from hyperadapters.serving.loaded_adapters import LoadedAdapters
from hyperadapters.serving.predictor import ROWS_AT_ONCE, rows_of_texts
from hyperadapters.serving.shared_passes import SharedPasses, by_group
from hyperadapters.storage import Collection, locate_adapters
from hyperadapters.tasks import AS_USUAL, Reading, iterate_rows
from hyperadapters.training import Encoded, batches_by_length, in_row_order

_ALL = "predictions"
"""The column that the answers of all tasks are written to."""

_TOGETHER = 64
"""Rows that pass together."""


def check_fans(tasks: Sequence[ServedTask]) -> None:
    """Raise InputError if one of some tasks is not of single texts or rows, which several tasks could answer."""
    wrong = [task.name for task in tasks if task.embeds or task.form.style in ("conversation", "words")]
    if wrong:
        raise InputError(
            f"{', '.join(wrong[:5])}: no task of single texts or rows, which all tasks could answer. Name the "
            "others, or answer it by itself."
        )


def file_of_all(
    answer: Callable[[list[Mapping[str, Any]]], list[dict[str, Any]]],
    fields: Iterable[str],
    path: Path,
    *,
    top: int | None = 0,
    reading: Reading = AS_USUAL,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file in order, with all their columns and what several tasks answer as `predictions`.

    Args:
        answer: returns the answers to rows, by the task's name.
        fields: the columns that the tasks read.
        path: the file.
        top: 0: the tasks answer without probabilities.
        reading: how it is read.

    Raises:
        InputError: no such file, or a row lacks a task's column or has a column `predictions` already; or
            probabilities are asked for.
    """
    if top != 0:
        raise InputError("the answers of all tasks have no probabilities: ask one task at a time.")
    rows = iterate_rows(expand_path(path), {field: field for field in fields}, reading)
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        for row in chunk:
            if _ALL in row.given:
                raise InputError(f"{row.place} has a column {_ALL!r} already, which the answers would replace.")
        for row, answers in zip(chunk, answer([row.values for row in chunk]), strict=True):
            yield {**row.given, _ALL: answers}


class Fan:
    """All tasks of a folder of adapters, each of which answers every text.

    What the backbone computes below the lowest trained module is computed once for each text, and not once for each
    task: beside the backbone (`ha.SideAdapter`) that is all of it. Adapters in line from the first layer on have
    nothing to share, and take a pass for each task.
    """

    def __init__(
        self, adapters: str | Path, tasks: Sequence[str] = (), *, backbone: str = "", resident: int = 256
    ) -> None:
        """Find the adapters, and load those that answer.

        Args:
            adapters: a folder with an adapter in each of its sub-folders, one adapter that holds several tasks, or the
                name of either on the Hub.
            tasks: those that answer; the last part of a name will do. Empty: all.
            backbone: another place to load the backbone from than the one that the adapters name.
            resident: how many adapters may be in memory.

        Raises:
            InputError: there is no adapter, no such task, or one that does not answer single texts or rows.
        """
        found = locate_adapters(adapters)
        catalogue = Catalogue(found)
        names = list(dict.fromkeys(map(catalogue.resolve, tasks or [*catalogue.damaged, *catalogue])))
        if isinstance(found, Collection):
            found.fetch(names)
        self._tasks = [catalogue.task(name) for name in names]
        check_fans(self._tasks)
        self._loaded = LoadedAdapters(backbone, resident=resident)
        self._loaded.open(self._tasks, last=True)
        self._passes = SharedPasses(self._loaded)
        self.truncated = 0
        """Texts so far, of any task, that were cut to the length of training."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(task.name for task in self._tasks)

    @property
    def limit(self) -> str:
        """The longest texts that are not cut, in words."""
        return "their tasks' limits of training"

    def __call__(self, rows: Iterable[Mapping[str, Any] | str]) -> list[dict[str, Any]]:
        """Return what each task answers to each row, in order, by the task's name.

        Args:
            rows: texts, for tasks of one field; or rows that hold the fields of every task, by name.

        Raises:
            InputError: a row lacks a field of a task.
        """
        given = list(rows)
        for number, row in enumerate(given):
            self._check_fields(number, row)
        found: list[dict[str, Any]] = [{} for _ in given]
        for tasks in by_group(self._tasks):
            for task, answers in self._answers_of(tasks, given):
                for own, answer in zip(found, answers, strict=True):
                    own[task.name] = task.form.target.present(answer)
        return [{task.name: own[task.name] for task in self._tasks} for own in found]

    def file(self, path: Path, *, top: int | None = 0, reading: Reading = AS_USUAL) -> Iterator[dict[str, Any]]:
        """Yield the rows of a file in order, with all their columns and the answers of all tasks as `predictions`.

        Args:
            path: the file.
            top: 0: all tasks answer without probabilities.
            reading: how it is read.

        Raises:
            InputError: no such file, or a row lacks a task's column or has a column `predictions` already; or
                probabilities are asked for.
        """
        fields = [field for task in self._tasks for field in task.form.fields]
        return file_of_all(self, fields, path, top=top, reading=reading)

    def _answers_of(
        self, tasks: list[ServedTask], given: Sequence[Mapping[str, Any] | str]
    ) -> Iterator[tuple[ServedTask, list[str]]]:
        """Yield the tasks of one group with their answers to all rows."""
        encoded = {task.name: self._encode(task, given) for task in tasks}
        first = encoded[tasks[0].name]
        batches = batches_by_length([self._loaded.length(tasks[0], row) for row in first], _TOGETHER)
        answered: dict[str, list[tuple[list[int], list[str]]]] = {task.name: [] for task in tasks}
        for numbers in batches:
            rows = {task.name: [encoded[task.name][number] for number in numbers] for task in tasks}
            for name, answers in self._passes.answer(tasks, rows).items():
                answered[name].append((numbers, answers))
        for task in tasks:
            yield task, in_row_order(answered[task.name])

    def _check_fields(self, number: int, row: Mapping[str, Any] | str) -> None:
        """Raise InputError if a row lacks a field of a task."""
        for task in self._tasks:
            missing = [] if isinstance(row, str) else [field for field in task.form.fields if field not in row]
            if missing:
                raise InputError(
                    f"row {number + 1} has no {', '.join(missing)}, which {task.name} reads; it has {', '.join(row)}."
                )

    def _encode(self, task: ServedTask, given: Sequence[Mapping[str, Any] | str]) -> list[Encoded]:
        values = [rows_of_texts(task.form, [row])[0] if isinstance(row, str) else row for row in given]
        rows, cut = self._loaded.encode([task] * len(values), values)
        self.truncated += cut
        return rows
