"""Tasks from a user's own files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from hyperadapters._utils import InputError, few_names
from hyperadapters.tasks.own_answers import AnswerType, _Column, _describe_answers, _misfit
from hyperadapters.tasks.own_rows import _OwnRows, _places_and_split
from hyperadapters.tasks.reading import AS_USUAL, Reading
from hyperadapters.tasks.span_rows import _span_rows
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import TaskFormat
from hyperadapters.tasks.templates import template_fields


def own_task(
    files: Mapping[str, str | Path],
    fields: tuple[str, ...],
    answer: str,
    *,
    answers: AnswerType | None = None,
    classify: bool | None = None,
    name: str,
    template: str = "",
    classes: tuple[str, ...] = (),
    separator: str = "",
    wordings: tuple[str, ...] = (),
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
        answers: what they are: `label` for one class a row; `labels` for any number of labels a row, as a list or with
            a separator between; `text` for any text; `score` for numbers, which an encoder learns by regression and the
            other backbones as rounded text; `tags` for a list of tags, one for each word of the one field, which is a
            list of words; `span` for a part of the last of one or two fields (a question and its text), as SQuAD's
            files have it.
        classify: in place of `answers`, for the two usual kinds: True is `label`, False is `text`.
        name: the task's name in results and in the saved adapter.
        template: the source text, with a column's name in braces where its text goes: `Question: {question}`; empty:
            every column after its name.
        classes: all classes, labels or tags, in order; empty: those that occur in the training rows, sorted.
        separator: what stands between the labels of a row, such as `;`, where they are no lists.
        wordings: descriptions of what is asked, each complete, for methods that write adapters from them.
        reading: how the files are read.
        split_seed: draws the validation rows where `files` has a share of the training rows for them: of each class in
            proportion, and never its last row.

    Raises:
        InputError: a file or column is missing, a column is both text and answer, rows are bad, there is only one
            class or number, classes look the same or are numbers to predict, or a number is none; or classes or a
            separator are given for answers that have none; a template is malformed, or there are both fields and a
            template; or the text of tags is not one column, or that of a part of it more than two.
    """
    if (answers is None) == (classify is None):
        raise InputError(
            "say what the answers are: answers='label' (or 'text', 'score', …), or classify=True or False."
        )
    _check_call(files, fields)
    answers = answers or ("label" if classify else "text")
    fields, style = _source_form(fields, template)
    _check_answers(fields, answer, answers, template=template, classes=classes, separator=separator)
    apart = f"answer to {', '.join(fields)}"  # longer than any of them: a text column may be called `label`
    alike = fields[-1:] if answers == "span" else fields
    places, split = _places_and_split(files, split_seed, apart if answers == "label" else "", alike)
    lists = {"labels": {apart: separator}, "tags": {fields[0]: "", apart: ""}}.get(answers, {})
    source = _OwnRows(
        places=places,
        reading=reading,
        columns={**{field: field for field in fields}, apart: answer},
        lists=lists,
        unfold=_span_rows(fields, answer, apart) if answers == "span" else None,
        unfit=_misfit(answers, fields[0], apart),
    )
    found = _describe_answers(
        lambda: source.rows("train"), apart, _Column(files["train"], answer), answers, tuple(classes)
    )
    return Task(
        TaskFormat(name, fields, found.target, style="words" if answers == "tags" else style, template=template),
        found.metrics,
        source,
        split,
        reference=found.reference,
        answer=apart,
        chosen_by=found.chosen_by,
        wordings=wordings,
        remedy=found.remedy,
    )


def _check_call(files: Mapping[str, str | Path], fields: tuple[str, ...]) -> None:
    """Raise InputError for files or columns that are given in another form than `own_task` takes them."""
    unknown = [split for split in files if split not in ("train", "validation", "test")]
    missing = [split for split in ("train", "validation") if not files.get(split)]
    if unknown or missing:
        what = f"no {' and '.join(missing)}" if missing else f"{few_names(map(repr, unknown))}"
        raise InputError(f"files: {what}. Name those of train, of validation (or a share, 10%), and perhaps of test.")
    several = [split for split, place in files.items() if not isinstance(place, str | Path)]
    if several:
        raise InputError(f"files of {' and '.join(several)}: give one text, several files with commas between.")
    if isinstance(fields, str):
        raise InputError(f"fields={fields!r}: give a tuple of columns, ({fields!r},).")


def _check_answers(
    fields: tuple[str, ...],
    answer: str,
    answers: AnswerType,
    *,
    template: str,
    classes: tuple[str, ...],
    separator: str,
) -> None:
    """Raise InputError if what is said of the answers does not go with their kind or with the text; as `own_task`."""
    if answer in fields:
        raise InputError(
            f"column {answer!r} is both text and answer: leave it out of the text, or name another answer."
        )
    if classes and answers not in ("label", "labels", "tags"):
        raise InputError(f"labels are named, but the answers are of the kind {answers!r}: leave them out.")
    if separator and answers != "labels":
        raise InputError(f"separator {separator!r} is for several labels a row (answers='labels'): leave it out.")
    if answers == "tags" and len(fields) != 1:
        raise InputError(f"tags are of the words of one column, but the text has {', '.join(fields)}: name one.")
    if answers == "span" and (template or len(fields) > 2):
        raise InputError(
            "an answer that is a part of the text needs the column of that text, perhaps after that of a question, "
            f"without a template: {template or ', '.join(fields)}."
        )


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
