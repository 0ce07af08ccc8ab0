"""Answers to a whole file of rows, written as a stream."""

import csv
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hyperadapters._utils import (
    SECONDS_BETWEEN_LINES,
    InputError,
    console,
    expand_path,
    follow_links,
    is_stream,
    open_output,
)
from hyperadapters.tasks import AS_USUAL, Labels, LabelSet, Reading, TaskFormat

_ANSWER = "prediction"
"""The column that an answer is written to."""

_SCORES = "scores"
"""The column that the probabilities of labels are written to."""

_CELLS = {".csv": ",", ".tsv": "\t"}
"""What stands between the cells of files with these endings."""

_OTHER_FORMATS = (".parquet", ".gz", ".xlsx", ".xls", ".conll")
"""Endings that promise what is not written."""

_MARKS = ("adapter_config.json", "config.json")
"""The files by which a folder is known to hold an adapter or a model."""

_THEIRS = (".json", ".md", ".safetensors", ".bin")
"""The endings of files of adapters, of the runs that trained them, and of models."""


class _FileAnswerer(Protocol):
    """What answers the rows of a file: a `Predictor`, a `_FolderPredictor` or a `Fan`."""

    def file(self, path: Path, *, top: int | None = 0, reading: Reading = AS_USUAL) -> Iterator[dict[str, Any]]:
        """Yield the rows in order, each with its `prediction` and, unless `top` is 0, its `scores`."""


def write_predictions(
    predictor: _FileAnswerer,
    source: str | Path,
    output: str | Path,
    *,
    top: int | None = 0,
    reading: Reading = AS_USUAL,
) -> int:
    """Answer a file row by row: every column of a row as it was given, and its `prediction`.

    A file of answers that is called .csv or .tsv is written as such, with a header line, and what is no text, number or
    nothing as JSON in its cell; any other is JSON, a row in each line.

    The file appears at `output` when it is whole. A device or a pipe is written to as it is; of a link, the file that
    it leads to is replaced.

    Args:
        predictor: what answers.
        source: the file of rows.
        output: the file of answers.
        top: how many labels of each row to write with their probabilities, as `scores`; None: all.
        reading: how the file of rows is read.

    Returns:
        The number of rows.

    Raises:
        InputError: `output` is the file of rows or one of an adapter or a model, has a name of another format, or
            cannot be written; a row of a CSV or TSV file has other columns than the first; or what `predictor.file`
            raises.
    """
    source, output = expand_path(source), expand_path(output)
    check_prediction_file(source, output)
    count, shown = 0, time.monotonic()
    in_lines = _in_cells if output.suffix in _CELLS else _in_json_lines
    with open_output(output) as file:
        for line in in_lines(map(as_json, predictor.file(source, top=top, reading=reading)), output):
            file.write(line.encode(errors="backslashreplace"))
            count += 1
            if time.monotonic() - shown > SECONDS_BETWEEN_LINES:
                console.print(f"predict  {count:,} rows")
                shown = time.monotonic()
    return count


def _in_json_lines(rows: Iterable[dict[str, Any]], output: Path) -> Iterator[str]:
    """Yield each row as a line of JSON."""
    return (f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _in_cells(rows: Iterable[dict[str, Any]], output: Path) -> Iterator[str]:
    """Yield each row as a line of CSV or TSV, the first one after the header.

    Raises:
        InputError: a row has other columns than the first.
    """
    separator, columns = _CELLS[output.suffix], list[str]()
    for number, row in enumerate(rows, 1):
        header = "" if columns else _line(list(row), separator)
        columns = columns or list(row)
        if row.keys() != {*columns}:
            raise InputError(
                f"--output {output}: row {number} has the columns {', '.join(row)}, but the first one has "
                f"{', '.join(columns)}. {output.with_suffix('.jsonl').name} can hold rows of several kinds."
            )
        yield header + _line([_cell(row[column]) for column in columns], separator)


def _cell(value: Any) -> str:
    """Return a value of JSON as text: a text as it is, nothing where there is none, else JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _line(cells: Sequence[str], separator: str) -> str:
    """Return cells as a line, in quotes where they have to be."""
    text = StringIO()
    csv.writer(text, delimiter=separator).writerow(cells)  # its line ends have it quote both kinds of them
    return text.getvalue().removesuffix("\r\n") + "\n"


def check_prediction_file(source: Path, output: Path) -> None:
    """Raise InputError if writing answers to `output` would destroy something, or cannot be done.

    Args:
        source: the file of rows.
        output: the file of answers; a device or a pipe may be anything but the rows.
    """
    target = follow_links(output)
    if target.is_dir():
        raise InputError(f"--output {output} is a folder: name a file to write.")
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"--output {output} is the file of the rows to answer: name another file.")
    if is_stream(output):
        return
    if output.suffix in _OTHER_FORMATS:
        raise InputError(
            f"--output {output}: answers are written as .jsonl, .csv or .tsv, not as {output.suffix}: name such a file."
        )
    if not target.absolute().parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {target.absolute().parent}.")
    if target.suffix in _THEIRS and any((target.parent / mark).exists() for mark in _MARKS):
        raise InputError(
            f"--output {output} may be a file of the adapter or model in that folder: name another one, such as "
            f"{output.with_name('answers.jsonl')}."
        )


def as_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answered row in types of JSON: null for a number that JSON lacks, text for dates and the like."""
    plain = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
    found: dict[str, Any] = json.loads(json.dumps(plain, default=str))
    return found


def _check_scored(form: TaskFormat, *, encoder: bool) -> None:
    """Raise InputError unless a task's answers have probabilities: classes, or the labels of an encoder.

    Args:
        form: of the task.
        encoder: its backbone is an encoder.
    """
    if why := why_unscored(form, encoder=encoder):
        several = isinstance(form.target, LabelSet)
        other = "on an encoder" if several else "with --label, where the answers are a few classes"
        raise InputError(f"{why}: leave out --scores and --top, or train {other}.")


def why_unscored(form: TaskFormat, *, encoder: bool) -> str:
    """Return why a task's answers have no probabilities; empty: they have, being classes or the labels of an encoder.

    Args:
        form: of the task.
        encoder: its backbone is an encoder.
    """
    if isinstance(form.target, Labels) or (isinstance(form.target, LabelSet) and encoder):
        return ""
    if isinstance(form.target, LabelSet):
        what = f"{form.name} has several labels a row, which this backbone generates as text"
    else:
        what = f"the answers of {form.name} are {form.target.expected()}"
    return f"probabilities are those of labels, but {what}"


def answered_row(given: Mapping[str, Any], answer: Any) -> dict[str, Any]:
    """Return a row's columns as they were given, and its answer, with probabilities of labels where it has them."""
    if isinstance(answer, Scored):
        return {**given, _ANSWER: answer.prediction, _SCORES: answer.scores}
    return {**given, _ANSWER: answer}


class Scored(NamedTuple):
    """An answer, and the likeliest labels with their probabilities."""

    prediction: Any
    scores: dict[str, float]


def scored_answer(form: TaskFormat, shares: Mapping[str, float], top: int | None) -> Scored:
    """Return the answer that probabilities are for: the likeliest class, or all labels of 1/2 or more.

    Args:
        form: of the task.
        shares: the probabilities of all labels, the likeliest first.
        top: how many of them to give; None: all.
    """
    likely = (
        form.target.joined(label for label, share in shares.items() if share >= 0.5)
        if isinstance(form.target, LabelSet)
        else next(iter(shares))
    )
    return Scored(form.target.present(likely), dict(list(shares.items())[:top]))


def check_unanswered(given: Mapping[str, Any], place: str, *, scored: bool = False) -> None:
    """Raise InputError if a row has a column of the answer's name, or of the scores': it would be lost."""
    for column in [_ANSWER, *([_SCORES] if scored else [])]:
        if column in given:
            raise InputError(
                f"{place} has a column {column!r} already, which the answer would replace: rename it, or leave it out."
            )
