"""Tasks from a user's own files."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from hyperadapters._utils import InputError, expand_path, few_names, listed, shortened
from hyperadapters.tasks.metrics import _NUMBER_METRICS, _TEXT_METRICS, accuracy, exact_match, macro_f1
from hyperadapters.tasks.readers import _read_rows, _Record
from hyperadapters.tasks.sources import _OwnFiles
from hyperadapters.tasks.splits import _as_given
from hyperadapters.tasks.targets import Labels, _FreeText, _Number, _plain_form
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import TaskFormat

AnswerType = Literal["label", "text", "score"]
"""What the answers of own files are: classes, any text, or numbers."""

_FEW_CLASSES = 10
"""So many numbers may be classes, whatever they are: ratings from 0.5 to 5 in halves."""

_FEW_ALONE = 4
"""So many may be classes where most of them stand in one row alone."""

_ROWS_OF_A_CLASS = 3
"""Rows that more classes, numbered ones, have on average at least."""


def own_task(files: dict[str, Path], fields: tuple[str, ...], answer: str, *, answers: AnswerType, name: str) -> Task:
    """Return a task from your own files of rows.

    Args:
        files: the file of train, of validation and perhaps of test: JSONL (plain or .gz), CSV, TSV or Parquet.
        fields: the columns of the source text, in order.
        answer: the column of the answer.
        answers: what they are: `label` for classes, those that occur in the training rows; `text` for any text;
            `score` for numbers, which an encoder learns by regression and the other backbones as rounded text.
        name: the task's name in results and in the saved adapter.

    Raises:
        InputError: a file or column is missing, a column is both text and answer, rows are bad, there is only one
            class or number, classes look the same or are numbers to predict, or a number is none.
    """
    files = {split: expand_path(path) for split, path in files.items()}
    if answer in fields:
        raise InputError(
            f"column {answer!r} is both text and answer: leave it out of the text, or name another answer."
        )
    apart = f"answer to {', '.join(fields)}"  # longer than any of them: a text column may be called `label`
    source = _OwnFiles(files, {**{field: field for field in fields}, apart: answer})
    if answers == "text":
        form = TaskFormat(name, fields, _FreeText())
        return Task(form, _TEXT_METRICS, source, _as_given, answer=apart, chosen_by=(exact_match,))
    if answers == "score":
        form = TaskFormat(name, fields, _number_format(files["train"], answer))
        return Task(form, _NUMBER_METRICS, source, _as_given, reference=_exact_number(apart), answer=apart)
    classes = _classes(files["train"], answer)
    form = TaskFormat(name, fields, Labels(classes))
    return Task(form, (accuracy, macro_f1), source, _as_given, answer=apart)


def _classes(path: Path, answer: str) -> tuple[str, ...]:
    """Return the classes of a training file, sorted.

    Args:
        path: the file.
        answer: the column that holds each row's class.

    Raises:
        InputError: there is one class at most, two classes look the same, or the column holds numbers to predict.
    """
    places: dict[str, str] = {}
    rows = [(row.values[answer].strip(), row.place) for row in _read_rows(path, {answer: answer})]
    for text, place in rows:
        places.setdefault(text, place)
    if len(places) < 2:
        raise InputError(
            f"{path}: column {answer!r} holds {len(places)} class(es) ({few_names(places, none='no rows')}); "
            "classification needs two. For free text use --target instead of --label."
        )
    _check_alike(path, answer, places)
    if _are_measurements([*places], len(rows)):
        raise InputError(
            f"{path}: column {answer!r} holds {len(places):,} different numbers in {len(rows):,} rows "
            f"({few_names(places)}): each would become a class of its own. To predict numbers, use --score instead of "
            "--label (answers='score'). If the numbers do name classes, write a word before them."
        )
    return tuple(sorted(places))


def _number_format(path: Path, answer: str) -> _Number:
    """Return the form of numbers like those of a training file.

    Args:
        path: the file.
        answer: the column that holds each row's number.

    Raises:
        InputError: some are no numbers (the first ten, with file and line), or all are the same.
    """
    any_number = _Number(mean=0.0, deviation=1.0, step=1.0)
    rows = [(row.values[answer], row.place) for row in _read_rows(path, {answer: answer})]
    bad = [f"{place}: {shortened(text)!r}" for text, place in rows if any_number.decode(text) is None]
    if bad:
        raise InputError(
            f"{path}: column {answer!r} holds {len(bad):,} answer(s) that are no finite number. Correct them, or leave "
            f"these rows out; for classes use --label, for text --target:\n  {listed(bad)}"
        )
    numbers = [float(text) for text, _ in rows]
    if len(set(numbers)) < 2:
        held = f"holds the number {numbers[0]:g} alone" if numbers else "has no rows"
        raise InputError(f"{path}: column {answer!r} {held}: to learn numbers takes two different ones at least.")
    try:
        return _Number.of(numbers)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: column {answer!r} holds numbers from {min(numbers):g} to {max(numbers):g}, whose standard "
            "deviation is not finite or 0 in double precision: write them in another unit."
        ) from error


def _exact_number(answer: str) -> Callable[[Any, _Record], float]:
    """Return what a number is compared with: the row's own, not the rounded one that its target text states.

    Args:
        answer: the name of the answer among a row's values.
    """
    return lambda _, row: float(row.values[answer])


def _check_alike(path: Path, answer: str, places: dict[str, str]) -> None:
    """Raise InputError if classes differ in white space, Unicode form or the writing of a whole number alone.

    Args:
        path: their file.
        answer: their column.
        places: where each stands first.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for text in places:
        plain = _plain_form(text)
        groups[plain[:-2] if re.fullmatch(r"[+-]?\d+\.0", plain) else plain].append(text)
    same = [" and ".join(f"{text!a} ({places[text]})" for text in texts) for texts in groups.values() if len(texts) > 1]
    if same:
        raise InputError(
            f"{path}: column {answer!r} holds classes that differ in white space or in the way that they are written "
            f"alone. Write each in one way, in all files:\n  {listed(same)}"
        )


def _are_measurements(classes: Sequence[str], rows: int) -> bool:
    """Return whether classes are numbers to predict, and no names: too many for the rows, or with decimals.

    Ratings from 1 to 5, in halves too, and numbered classes with some rows each are names.
    """
    if not all(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) for text in classes):
        return False
    whole = all(float(text).is_integer() for text in classes)
    few = _FEW_CLASSES if rows >= 2 * len(classes) else _FEW_ALONE
    return len(classes) > few and (not whole or rows < _ROWS_OF_A_CLASS * len(classes))
