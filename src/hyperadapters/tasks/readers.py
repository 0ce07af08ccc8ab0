"""Rows of JSONL, CSV, TSV and Parquet files; every bad line is reported with its file and number."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from hyperadapters._utils import InputError, few_names
from hyperadapters.tasks.file_formats import _DELIMITED, _existing, _read_records
from hyperadapters.tasks.list_cells import _text, _texts_of
from hyperadapters.tasks.reading import AS_USUAL, Reading
from hyperadapters.tasks.text_lines import _Problems


class _Record(NamedTuple):
    """One row and where it stands, for errors."""

    values: dict[str, Any]
    """Texts by the name of their column; the turns of a conversation, where that is what the column holds."""
    place: str
    given: Mapping[Any, Any] = MappingProxyType({})
    """All columns as the file has them, of rows that are read one by one to be answered."""


_Located = Iterable[tuple[str, Mapping[Any, Any]]]
"""Records as they stand in a file or data set, each after its place."""

_Unfold = Callable[[Mapping[Any, Any]], Iterable[dict[str, Any]]]
"""Makes the rows of one record, which may be nested. A KeyError, TypeError or ValueError: the record is bad."""


def _read_rows(
    path: Path, columns: Mapping[str, str | int], *, header: bool = True, whole_rows_only: bool = False
) -> list[_Record]:
    """Read some columns of a benchmark's file, as text.

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
    rows = list(_rows(_located(path, problems, header=header, official=True), columns, problems, path))
    if whole_rows_only:
        return [row for row in rows if len(row.values) == len(columns)]
    problems.raise_any(path)
    return rows


def _read_unfolded(path: Path, unfold: _Unfold, *, header: bool = True) -> list[_Record]:
    """Read a benchmark's file whose records are nested or hold several rows.

    Args:
        path: as for `read_rows`.
        unfold: makes the rows of one record.
        header: as for `read_rows`.

    Raises:
        InputError: as for `read_rows`, or a record is not made as `unfold` expects.
    """
    problems = _Problems()
    rows = list(_unfolded(_located(path, problems, header=header, official=True), unfold, problems))
    problems.raise_any(path)
    return rows


def iterate_rows(
    path: Path,
    columns: Mapping[str, str | int],
    reading: Reading = AS_USUAL,
    lists: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[_Record]:
    """Yield what `read_rows` reads, as a stream, with all columns; raise InputError at the first bad line."""
    problems = _Problems()
    rows = _rows(_located(path, problems, reading), columns, problems, path, keep=True, lists=lists)
    return _checked(rows, problems, path)


def iterate_unfolded(path: Path, unfold: _Unfold, reading: Reading = AS_USUAL) -> Iterator[_Record]:
    """Yield what `read_unfolded` reads, as a stream, with all columns; raise InputError at the first bad line."""
    problems = _Problems()
    return _checked(_unfolded(_located(path, problems, reading), unfold, problems, keep=True), problems, path)


def _located(path: Path, problems: _Problems, reading: Reading = AS_USUAL, *, name: str = "", **how: bool) -> _Located:
    """Yield a file's records, each after its place; arguments and errors are those of `_read_records`.

    `name` is what places call the file; by default its own name, without its folder.
    """
    for number, record in _read_records(_existing(path), problems, reading, **how):
        yield f"{name or path.name}:{number}", record


def _checked(rows: Iterator[_Record], problems: _Problems, path: Path) -> Iterator[_Record]:
    for row in rows:
        problems.raise_any(path)
        yield row
    problems.raise_any(path)


def iterate_tasks(
    path: Path, fields: Callable[[str], Iterable[str]], reading: Reading = AS_USUAL
) -> Iterator[tuple[str, _Record]]:
    """Yield rows that each name their task in the column `task`, with that task's fields.

    Args:
        path: as for `read_rows`.
        fields: returns a task's columns; raises InputError for a task that it does not know.
        reading: how the file is read.

    Raises:
        InputError: as for `read_rows`, at the first bad line; or from `fields`.
    """
    problems, checked = _Problems(), False
    for number, record in _read_records(path, problems, reading):
        if not checked:
            _check_columns(path, {"task": "task"}, record)
            checked = True
        place = f"{path.name}:{number}"
        task = _cells(record, {"task": "task"}, place, problems).get("task", "")
        values = _cells(record, {field: field for field in (fields(task) if task else ())}, place, problems)
        problems.raise_any(path)
        yield task, _Record(values, place, record)
    problems.raise_any(path)


def _unfolded(records: _Located, unfold: _Unfold, problems: _Problems, *, keep: bool = False) -> Iterator[_Record]:
    for place, record in records:
        try:
            yield from [_Record(values, place, record if keep else {}) for values in unfold(record)]
        except InputError as error:
            problems.add(place, str(error))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            problems.add(place, f"not made as expected ({type(error).__name__}: {error})")


def _rows(
    records: _Located,
    columns: Mapping[str, str | int],
    problems: _Problems,
    source: Path | str,
    *,
    keep: bool = False,
    lists: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[_Record]:
    """Yield some columns of records as text; a row with problems lacks values.

    Args:
        records: of one file, or one split of a data set.
        columns: as for `read_rows`.
        problems: collects what is wrong.
        source: where the records are from, for errors.
        keep: keep all columns too, as they are given.
        lists: our names of columns that hold lists of texts, with what stands between them where they are no lists.

    Raises:
        InputError: the first record lacks a column.
    """
    checked = False
    for place, record in records:
        if not checked:
            _check_columns(source, columns, record, options=problems.options)
            checked = True
        yield _Record(_cells(record, columns, place, problems, lists), place, record if keep else {})


def _cells(
    record: Mapping[str | int, Any],
    columns: Mapping[str, str | int],
    place: str,
    problems: _Problems,
    lists: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, column in columns.items():
        value = record.get(column)
        if name in lists:
            try:
                values[name] = _texts_of(value, lists[name])
            except ValueError as error:
                problems.add(place, f"column {column!r} {error}")
        elif value is None or not str(value).strip():
            problems.add(place, f"column {column!r} is {'missing' if value is None else 'empty'}")
        elif isinstance(value, (float, Decimal)) and not math.isfinite(value):
            what = "missing (NaN)" if math.isnan(value) else f"{value}, which is no number to learn"
            problems.add(place, f"column {column!r} is {what}")
        elif isinstance(value, (dict, list, bytes)):
            problems.add(place, f"column {column!r} holds a {type(value).__name__}, not text")
        else:
            values[name] = _text(value)
    return values


def _check_columns(
    source: Path | str, columns: Mapping[str, str | int], record: Mapping[str | int, Any], *, options: bool = False
) -> None:
    """Raise InputError, with the columns that there are, unless a record has those that are read.

    Args:
        source: where the record is from.
        columns: the file's column for each of ours.
        record: the first one.
        options: name the option that reads a file without a header.
    """
    missing = [column for column in dict.fromkeys(columns.values()) if column not in record]
    if missing:
        present = few_names(map(str, record), near=str(missing[0]))
        hint = _header_hint(str(source), record) if options and str(source).endswith(_DELIMITED) else ""
        raise InputError(f"{source} has no column {few_names(map(repr, missing))}. Its columns: {present}.{hint}")


def _header_hint(source: str, record: Mapping[str | int, Any]) -> str:
    """Return what to do with a file of cells whose first line names other columns."""
    hint = " If its first line is a row, name the columns with --columns."
    if len(record) > 1:
        return hint
    marks = "commas, semicolons or tabs" if source.endswith(".csv") else "tabs"
    return f" That is one column: cells of {Path(source).suffix} files stand between {marks}.{hint}"
