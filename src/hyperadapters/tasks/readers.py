"""Rows of JSONL, CSV, TSV and Parquet files; every bad line is reported with its file and number."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from hyperadapters._utils import InputError, few_names
from hyperadapters.tasks.file_formats import _existing, _Problems, _read_records


class _Record(NamedTuple):
    """One row and where it stands, for errors."""

    values: dict[str, Any]
    """Texts by the name of their column; the turns of a conversation, where that is what the column holds."""
    place: str
    given: Mapping[Any, Any] = MappingProxyType({})
    """All columns as the file has them, of rows that are read one by one to be answered."""


_Unfold = Callable[[Mapping[Any, Any]], Iterable[dict[str, Any]]]
"""Makes the rows of one record, which may be nested. A KeyError, TypeError or ValueError: the record is bad."""


def _read_rows(
    path: Path, columns: Mapping[str, str | int], *, header: bool = True, whole_rows_only: bool = False
) -> list[_Record]:
    """Read some columns of a file, as text.

    Args:
        path: JSONL (plain or .gz), CSV, TSV (read without quoting, as GLUE's are) or Parquet, by its ending.
        columns: the file's column for each of our names: its name, or its number (from 0) where there is no header.
        header: whether the first line of a CSV or TSV names the columns.
        whole_rows_only: leave out rows that lack cells or values instead of refusing the file.

    Raises:
        InputError: no such file, a missing column, or bad lines (ragged, not UTF-8, no JSON object, empty or
            non-text values): the first ten, each with file and line number.
    """
    problems = _Problems()
    rows = list(_rows(path, columns, problems, header=header))
    if whole_rows_only:
        return [row for row in rows if len(row.values) == len(columns)]
    problems.raise_any(path)
    return rows


def _read_unfolded(path: Path, unfold: _Unfold, *, header: bool = True) -> list[_Record]:
    """Read a file whose records are nested or hold several rows.

    Args:
        path: as for `read_rows`.
        unfold: makes the rows of one record.
        header: as for `read_rows`.

    Raises:
        InputError: as for `read_rows`, or a record is not made as `unfold` expects.
    """
    problems = _Problems()
    rows = list(_unfolded(path, unfold, problems, header=header))
    problems.raise_any(path)
    return rows


def iterate_rows(path: Path, columns: Mapping[str, str | int]) -> Iterator[_Record]:
    """Yield what `read_rows` reads, as a stream, with all columns; raise InputError at the first bad line."""
    problems = _Problems()
    return _checked(_rows(path, columns, problems, header=True, keep=True), problems, path)


def iterate_unfolded(path: Path, unfold: _Unfold) -> Iterator[_Record]:
    """Yield what `read_unfolded` reads, as a stream, with all columns; raise InputError at the first bad line."""
    problems = _Problems()
    return _checked(_unfolded(path, unfold, problems, header=True, keep=True), problems, path)


def _columns_of(path: Path) -> set[str]:
    """Return the columns of a file's first row; none where it has no row.

    Raises:
        InputError: no such file, or its first line is bad.
    """
    problems = _Problems()
    _, record = next(_read_records(_existing(path), problems, header=True), (0, {}))
    problems.raise_any(path)
    return {str(column) for column in record}


def _checked(rows: Iterator[_Record], problems: _Problems, path: Path) -> Iterator[_Record]:
    for row in rows:
        problems.raise_any(path)
        yield row
    problems.raise_any(path)


def iterate_tasks(path: Path, fields: Callable[[str], Iterable[str]]) -> Iterator[tuple[str, _Record]]:
    """Yield rows that each name their task in the column `task`, with that task's fields.

    Args:
        path: as for `read_rows`.
        fields: returns a task's columns; raises InputError for a task that it does not know.

    Raises:
        InputError: as for `read_rows`, at the first bad line; or from `fields`.
    """
    problems, checked = _Problems(), False
    for number, record in _read_records(path, problems, header=True):
        if not checked:
            _check_columns(path, {"task": "task"}, record)
            checked = True
        place = f"{path.name}:{number}"
        task = _cells(record, {"task": "task"}, place, problems).get("task", "")
        values = _cells(record, {field: field for field in (fields(task) if task else ())}, place, problems)
        problems.raise_any(path)
        yield task, _Record(values, place, record)
    problems.raise_any(path)


def _unfolded(
    path: Path, unfold: _Unfold, problems: _Problems, *, header: bool, keep: bool = False
) -> Iterator[_Record]:
    for number, record in _read_records(_existing(path), problems, header=header):
        place = f"{path.name}:{number}"
        try:
            yield from [_Record(values, place, record if keep else {}) for values in unfold(record)]
        except InputError as error:
            problems.add(place, str(error))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            problems.add(place, f"not made as expected ({type(error).__name__}: {error})")


def _rows(
    path: Path, columns: Mapping[str, str | int], problems: _Problems, *, header: bool, keep: bool = False
) -> Iterator[_Record]:
    checked = False
    for number, record in _read_records(_existing(path), problems, header=header):
        if not checked:
            _check_columns(path, columns, record)
            checked = True
        place = f"{path.name}:{number}"
        yield _Record(_cells(record, columns, place, problems), place, record if keep else {})


def _cells(
    record: Mapping[str | int, Any], columns: Mapping[str, str | int], place: str, problems: _Problems
) -> dict[str, str]:
    values = {}
    for name, column in columns.items():
        value = record.get(column)
        if value is None or not str(value).strip():
            problems.add(place, f"column {column!r} is {'missing' if value is None else 'empty'}")
        elif isinstance(value, (float, Decimal)) and not math.isfinite(value):
            what = "missing (NaN)" if math.isnan(value) else f"{value}, which is no number to learn"
            problems.add(place, f"column {column!r} is {what}")
        elif isinstance(value, (dict, list, bytes)):
            problems.add(place, f"column {column!r} holds a {type(value).__name__}, not text")
        else:
            values[name] = _text(value)
    return values


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _check_columns(path: Path, columns: Mapping[str, str | int], record: Mapping[str | int, Any]) -> None:
    missing = [column for column in columns.values() if column not in record]
    if missing:
        present = few_names(map(str, record), near=str(missing[0]))
        raise InputError(f"{path} has no column {few_names(map(repr, missing))}. Its columns: {present}.")
