"""Tasks from a user's own files."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from hyperadapters._utils import InputError, few_names, listed
from hyperadapters.tasks.metrics import _TEXT_METRICS, accuracy, exact_match, macro_f1
from hyperadapters.tasks.own_rows import _OwnRows, _places_and_split
from hyperadapters.tasks.reading import AS_USUAL, Reading
from hyperadapters.tasks.targets import Labels, _FreeText, _plain_form
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import TaskFormat
from hyperadapters.tasks.templates import template_fields

AnswerType = Literal["label", "text"]
"""What the answers of own files are: classes, or any text."""

_REMEDY = (
    "Classes are those of the training rows: add rows of the others there, or name all classes with --labels FILE."
)

_FEW_CLASSES = 10
"""So many numbers may be classes, whatever they are: ratings from 0.5 to 5 in halves."""

_FEW_ALONE = 4
"""So many may be classes where most of them stand in one row alone."""

_ROWS_OF_A_CLASS = 3
"""Rows that more classes, numbered ones, have on average at least."""


def own_task(
    files: Mapping[str, str | Path],
    fields: tuple[str, ...],
    answer: str,
    *,
    answers: AnswerType,
    name: str,
    template: str = "",
    reading: Reading = AS_USUAL,
    split_seed: int = 42,
) -> Task:
    """Return a task from your own files of rows.

    Args:
        files: where the rows of train, of validation and perhaps of test are: JSON (lines, plain or .gz, or an array of
            objects), CSV, TSV, TXT (with tabs) or Parquet. Several files have commas between; `data/part-*.jsonl` is
            all files of the pattern; `hf://owner/name/configuration:split` is a data set of the Hub, configuration and
            split as far as it needs them. In place of validation, `10%` is that share of the training rows.
        fields: the columns of the source text, in order; none with a template, which names them.
        answer: the column of the answer.
        answers: what they are: `label` for classes, those that occur in the training rows; `text` for any text.
        name: the task's name in results and in the saved adapter.
        template: the source text, with a column's name in braces where its text goes: `Question: {question}`; empty:
            every column after its name.
        reading: how the files are read.
        split_seed: draws the validation rows where `files` has a share of the training rows for them: of each class in
            proportion, and never its last row.

    Raises:
        InputError: a file or column is missing, a column is both text and answer, rows are bad, there is only one
            class, classes look the same, or they are numbers to predict; a template is malformed, or there are both
            fields and a template.
    """
    fields, style = _source_form(fields, template)
    if answer in fields:
        raise InputError(
            f"column {answer!r} is both text and answer: leave it out of the text, or name another answer."
        )
    apart = f"answer to {', '.join(fields)}"  # longer than any of them: a text column may be called `label`
    places, split = _places_and_split(files, split_seed, apart if answers == "label" else "")
    source = _OwnRows(places=places, reading=reading, columns={**{field: field for field in fields}, apart: answer})
    if answers == "text":
        form = TaskFormat(name, fields, _FreeText(), style=style, template=template)
        return Task(form, _TEXT_METRICS, source, split, answer=apart, chosen_by=(exact_match,))
    classes = _classes([(row.values[apart].strip(), row.place) for row in source.rows("train")], files["train"], answer)
    form = TaskFormat(name, fields, Labels(classes), style=style, template=template)
    return Task(form, (accuracy, macro_f1), source, split, answer=apart, remedy=_REMEDY)


def _source_form(fields: tuple[str, ...], template: str) -> tuple[tuple[str, ...], Literal["named", "template"]]:
    """Return the columns of the source text, and how they become it.

    Raises:
        InputError: there are both fields and a template or neither, or the template is malformed.
    """
    if fields and template:
        raise InputError(
            f"columns {', '.join(fields)} and template {template!r}: a template names its columns itself. Give one."
        )
    if not fields and not template:
        raise InputError("name the columns of the source text, or give a template that does.")
    return (template_fields(template), "template") if template else (fields, "named")


def _classes(rows: Sequence[tuple[str, str]], path: str | Path, answer: str) -> tuple[str, ...]:
    """Return the classes of training rows, sorted.

    Args:
        rows: the class and the place of each.
        path: where they are from, for errors.
        answer: the column that holds the classes, for errors.

    Raises:
        InputError: there is one class at most, two classes look the same, or the column holds numbers to predict.
    """
    places: dict[str, str] = {}
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
            f"({few_names(places)}): each would become a class of its own. To predict a number, use --target instead "
            "of --label (answers='text'): it is then generated as text. In Python, a task whose target is "
            "hyperadapters.tasks.Score(low, high, step) learns it as a score. If the numbers do name classes, write a "
            "word before them."
        )
    return tuple(sorted(places))


def _check_alike(path: str | Path, answer: str, places: dict[str, str]) -> None:
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
