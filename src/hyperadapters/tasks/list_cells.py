"""Cells that hold lists of texts: lists of JSON and Parquet, the same as text, and texts with a separator between."""

import json
import math
from typing import Any


def _text(value: Any) -> str:
    """Return a plain value as text; true and false are 1 and 0."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _is_list(value: Any) -> bool:
    """Return whether a cell is a list, or a text that is one in JSON."""
    try:
        return isinstance(_parsed(value), list)
    except ValueError:
        return False


def _texts_of(value: Any, separator: str) -> tuple[str, ...]:
    """Return the texts that a cell lists, without white space around them.

    Args:
        value: the cell.
        separator: what stands between them where the cell is no list; empty: it must be one.

    Raises:
        ValueError: it is no list, or one of something else; says so in words that follow the column's name.
    """
    if value is None:
        raise ValueError("is missing; write [] for none")
    if separator and not isinstance(value, list | dict):
        return tuple(part.strip() for part in _text(value).split(separator) if part.strip())
    parsed = _parsed(value)
    if isinstance(parsed, list):
        return tuple(_item(item) for item in parsed)
    raise ValueError(
        f"holds {_text(value)[:40]!r}, which is no list: write a JSON list, or say what stands between its parts with "
        "--separator"
    )


def _parsed(value: Any) -> Any:
    """Return a cell; a text that begins as a list of JSON does as that list.

    Raises:
        ValueError: it is no JSON.
    """
    if not (isinstance(value, str) and value.lstrip().startswith("[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"holds a list that is no JSON ({error})") from error


def _item(value: Any) -> str:
    """Return one text of a list.

    Raises:
        ValueError: it is none.
    """
    plain = isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    if not plain or not _text(value).strip():
        raise ValueError(f"holds a list with {value!r} in it, which is no text")
    return _text(value).strip()
