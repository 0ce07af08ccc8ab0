"""The task of one labelled file: rows to score a trained adapter on, wherever its training data are."""

from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, few_names
from hyperadapters.tasks.conversation import _rows_to_learn
from hyperadapters.tasks.own_answers import AnswerType, _answers_of, _misfit
from hyperadapters.tasks.own_rows import _OwnRows, holds_lists
from hyperadapters.tasks.reading import AS_USUAL, Reading
from hyperadapters.tasks.span_rows import _span_rows
from hyperadapters.tasks.splits import _as_given
from hyperadapters.tasks.targets import LabelSet, Numeric
from hyperadapters.tasks.task import Task, _target_value
from hyperadapters.tasks.task_format import TaskFormat

_REMEDY = "The adapter knows the answers of its training alone: correct these rows, or leave them out of the file."


def labelled_task(
    form: TaskFormat,
    path: Path,
    answer: str,
    known: Task | None = None,
    reading: Reading = AS_USUAL,
    *,
    separator: str = "",
) -> Task:
    """Return a task whose test split is a labelled file, with the metrics of the task that an adapter was trained on.

    Args:
        form: what the adapter says of its task (`adapter_config.json`).
        path: JSONL, CSV, TSV or Parquet with the columns of the form, and the answers; of conversations, `messages`.
        answer: the column of the answers; conversations hold them in their turns.
        known: the package's task of that name, whose metrics are taken; None: there is none.
        reading: how the file is read.
        separator: what stands between the labels of a row, where each may have several and they are no lists; empty:
            a semicolon.

    Raises:
        InputError: there is no such file, it lacks a column, or the task is scored by more than text and answer.
    """
    if known and known.reference is not _target_value:
        raise InputError(
            f"{form.name} is scored by more than each row's text and answer: give its official files with --data in "
            "place of --file."
        )
    apart = f"answer to {', '.join(form.fields)}"  # longer than any of them: a text column may be called `label`
    found = _answers_of(form.target, apart)
    metrics, chosen_by = (known.metrics, known.chosen_by) if known else (found.metrics, found.chosen_by)
    if form.style == "conversation":
        conversations = _OwnRows(places={"test": path}, reading=reading, unfold=_rows_to_learn)
        return Task(form, metrics, conversations, _as_given, chosen_by=chosen_by)
    _check_columns(path, form, answer, reading)
    as_lists = form.answers == "label_set" and not separator and holds_lists({"train": path}, answer, reading)
    between = "" if as_lists else separator or LabelSet.SEPARATOR.strip()
    lists = {"label_set": {apart: between}, "tags": {**form.lists, apart: ""}}
    kind: AnswerType = "tags" if form.answers == "tags" else "score" if isinstance(form.target, Numeric) else "text"
    source = _OwnRows(
        places={"test": path},
        reading=reading,
        columns={**{field: field for field in form.fields}, apart: answer},
        lists=lists.get(form.answers, {}),
        unfold=_span_rows(form.fields, answer, apart) if form.answers == "span" else None,
        unfit=_misfit(kind, form.fields[0], apart),
    )
    reference = _target_value if known else found.reference
    how: dict[str, Any] = {"answer": apart, "reference": reference, "chosen_by": chosen_by, "remedy": _REMEDY}
    return Task(form, metrics, source, _as_given, **how)


def _check_columns(path: Path, form: TaskFormat, answer: str, reading: Reading) -> None:
    """Raise InputError unless a file that has rows has the columns of the text and of the answers."""
    columns = _OwnRows(places={"test": path}, reading=reading).first_columns("test")
    wanted = dict.fromkeys([*form.fields, answer])
    missing = [column for column in wanted if column not in columns]
    if columns and missing:
        hint = f" Name the column of the answers with --label, if it is not {answer!r}." if answer in missing else ""
        raise InputError(
            f"{path} has no column {few_names(map(repr, missing))}; {form.name} needs {few_names(wanted)}. "
            f"Its columns: {few_names(sorted(columns))}.{hint}"
        )
