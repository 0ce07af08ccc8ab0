"""Rows whose answer stands in their text (extractive question answering): SQuAD's columns, and simpler ones."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hyperadapters._utils import InputError, few_names, shortened
from hyperadapters.tasks.list_cells import _parsed, _text
from hyperadapters.tasks.readers import _Unfold

_PLACE = "place of the answer"
"""The value of a row that says where its answer stands in its last text: first character and the one after the last."""


class _Part(NamedTuple):
    """An answer: a part of a text, without white space around it."""

    text: str
    start: int


def _span_rows(fields: tuple[str, ...], answer: str, apart: str) -> _Unfold:
    """Return what makes a row of a record.

    Args:
        fields: the columns of the source; answers stand in the last.
        answer: the column of the answers: a text; a list of texts; SQuAD's list of `{"text", "answer_start"}`, or the
            Hub's `{"text": […], "answer_start": […]}`. A text without a place is meant where it stands first. An empty
            list: the text has no answer.
        apart: what the row calls its answers.
    """

    def unfold(record: Mapping[Any, Any]) -> list[dict[str, Any]]:
        missing = [column for column in (*fields, answer) if column not in record]
        if missing:
            raise InputError(f"no column {few_names(missing)}; its columns: {few_names(map(str, record))}")
        texts = {field: _text_of(record[field], field) for field in fields}
        context = record[fields[-1]]
        parts = _parts_of(record[answer], context, answer)
        left_out = len(context) - len(context.lstrip())
        place = (parts[0].start - left_out, parts[0].start - left_out + len(parts[0].text)) if parts else None
        return [{**texts, apart: tuple(dict.fromkeys(part.text for part in parts)), _PLACE: place}]

    return unfold


def _text_of(value: Any, column: str) -> str:
    """Return the text of a cell without white space around it; raise InputError if there is none."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"column {column!r} holds {shortened(str(value))!r}, where a text should stand")
    return value.strip()


def _parts_of(value: Any, context: str, column: str) -> list[_Part]:
    """Return the answers that a cell holds; none where the text has no answer.

    Raises:
        InputError: the cell is missing or malformed, or an answer does not stand where it says.
    """
    if isinstance(value, str) and value.strip() and value.strip() in context:
        return [_part(value, context, column)]  # "[1]" is a list of JSON too
    try:
        value = _parsed(value)
    except ValueError as error:
        raise InputError(f"column {column!r} {error}") from error
    if isinstance(value, Mapping) and {"text", "answer_start"} <= {*value}:
        texts, starts = value["text"], value["answer_start"]
        if not (isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts)):
            raise InputError(f"column {column!r}: text and answer_start are two lists of one length")
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if value is None or value == "":
        raise InputError(f"column {column!r} is missing; write [] where the text has no answer")
    return [_part(each, context, column) for each in (value if isinstance(value, list) else [value])]


def _part(value: Any, context: str, column: str) -> _Part:
    """Return one answer; arguments and errors are those of `_parts_of`."""
    if not isinstance(value, Mapping):
        text = _text_of(_text(value), column)
        start = context.find(text)
        if start < 0:
            raise InputError(f"column {column!r}: {shortened(text)!r} does not stand in the text, to the letter")
        return _Part(text, start)
    try:
        text, start = value["text"], value["answer_start"]
    except KeyError as error:
        raise InputError(f"column {column!r}: an answer has text and answer_start, this one lacks {error}") from error
    if not isinstance(text, str) or not text.strip() or not isinstance(start, int) or isinstance(start, bool):
        raise InputError(f"column {column!r}: an answer is a text and its first character's number, not {value}")
    if start < 0 or context[start : start + len(text)] != text:
        elsewhere = context.find(text)
        where = f"it stands at {elsewhere}" if elsewhere >= 0 else "it stands nowhere in it"
        raise InputError(f"column {column!r}: {shortened(text)!r} does not stand at {start} of the text; {where}")
    return _Part(text.strip(), start + len(text) - len(text.lstrip()))
