"""Rows from JSONL, CSV, TSV and Parquet files; every bad line is reported with its file and number."""

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hyperadapters._utils import InputError, listed

LONGEST_CELL = 2**31 - 1
"""Characters of a cell of CSV, the most that Python's reader takes everywhere."""

FORMATS = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")


class Record(NamedTuple):
    """One row and where it stands, for errors."""

    values: dict[str, Any]
    """Texts by the name of their column; the turns of a conversation, where that is what the column holds."""
    place: str


Unfold = Callable[[Mapping[Any, Any]], Iterable[dict[str, Any]]]
"""One record of a file, nested as it may be -> its rows. Any KeyError, TypeError or ValueError: the record is bad."""


class Problems:
    """Collects what is wrong with a file, to raise it all at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, place: str, what: str) -> None:
        self.found.append(f"{place}: {what}")

    def raise_any(self, path: Path) -> None:
        if self.found:
            raise InputError(f"{path} has {len(self.found)} bad row(s):\n  {listed(self.found)}")


def read_rows(
    path: Path, columns: Mapping[str, str | int], *, header: bool = True, whole_rows_only: bool = False
) -> list[Record]:
    """Read some columns of a file.

    Args:
        path: JSONL (plain or .gz), CSV, TSV (read without quoting, as GLUE's are) or Parquet, by its ending.
        columns: our name -> the file's column, by name, or by number (from 0) where there is no header.
        header: whether the first line of a CSV or TSV names the columns.
        whole_rows_only: leave out rows that lack cells or values instead of refusing the file.

    Raises:
        InputError: no such file, a missing column, or bad lines (ragged, not UTF-8, no JSON object, empty or
            non-text values): the first ten, each with file and line number.
    """
    problems = Problems()
    rows = list(_rows(path, columns, problems, header=header))
    if whole_rows_only:
        return [row for row in rows if len(row.values) == len(columns)]
    problems.raise_any(path)
    return rows


def read_unfolded(path: Path, unfold: Unfold, *, header: bool = True) -> list[Record]:
    """Read a file whose records are nested or hold several rows.

    Raises:
        InputError: as for `read_rows`, or a record is not made as `unfold` expects.
    """
    problems = Problems()
    rows = list(_unfolded(path, unfold, problems, header=header))
    problems.raise_any(path)
    return rows


def iterate_rows(path: Path, columns: Mapping[str, str | int]) -> Iterator[Record]:
    """`read_rows` as a stream; stops with InputError at the first bad line."""
    problems = Problems()
    return _checked(_rows(path, columns, problems, header=True), problems, path)


def iterate_unfolded(path: Path, unfold: Unfold) -> Iterator[Record]:
    """`read_unfolded` as a stream; stops with InputError at the first bad line."""
    problems = Problems()
    return _checked(_unfolded(path, unfold, problems, header=True), problems, path)


def columns_of(path: Path) -> set[str]:
    """The columns of a file's first row; none where it has no row.

    Raises:
        InputError: no such file, or its first line is bad.
    """
    problems = Problems()
    _, record = next(_records(existing(path), problems, header=True), (0, {}))
    problems.raise_any(path)
    return {str(column) for column in record}


def existing(path: Path) -> Path:
    """A file's path.

    Raises:
        InputError: there is none.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist (looked in {path.parent.resolve()}).")
    return path


def _checked(rows: Iterator[Record], problems: Problems, path: Path) -> Iterator[Record]:
    for row in rows:
        problems.raise_any(path)
        yield row
    problems.raise_any(path)


def iterate_tasks(path: Path, fields: Callable[[str], Iterable[str]]) -> Iterator[tuple[str, Record]]:
    """Rows that each name their task in the column `task`, with that task's fields, as a stream.

    Args:
        path: as for `read_rows`.
        fields: a task's columns; raises InputError for a task that it does not know.

    Raises:
        InputError: as for `read_rows`, at the first bad line; or from `fields`.
    """
    problems, checked = Problems(), False
    for number, record in _records(path, problems, header=True):
        if not checked:
            _check_columns(path, {"task": "task"}, record)
            checked = True
        place = f"{path.name}:{number}"
        task = _cells(record, {"task": "task"}, place, problems).get("task", "")
        values = _cells(record, {field: field for field in (fields(task) if task else ())}, place, problems)
        problems.raise_any(path)
        yield task, Record(values, place)
    problems.raise_any(path)


def _unfolded(path: Path, unfold: Unfold, problems: Problems, *, header: bool) -> Iterator[Record]:
    for number, record in _records(existing(path), problems, header=header):
        place = f"{path.name}:{number}"
        try:
            yield from [Record(values, place) for values in unfold(record)]
        except InputError as error:
            problems.add(place, str(error))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            problems.add(place, f"not made as expected ({type(error).__name__}: {error})")


def _rows(path: Path, columns: Mapping[str, str | int], problems: Problems, *, header: bool) -> Iterator[Record]:
    checked = False
    for number, record in _records(existing(path), problems, header=header):
        if not checked:
            _check_columns(path, columns, record)
            checked = True
        place = f"{path.name}:{number}"
        yield Record(_cells(record, columns, place, problems), place)


def _cells(
    record: Mapping[str | int, Any], columns: Mapping[str, str | int], place: str, problems: Problems
) -> dict[str, str]:
    values = {}
    for name, column in columns.items():
        value = record.get(column)
        if value is None or not str(value).strip():
            problems.add(place, f"column {column!r} is {'missing' if value is None else 'empty'}")
        elif isinstance(value, (dict, list)):
            problems.add(place, f"column {column!r} holds a {type(value).__name__}, not text")
        else:
            values[name] = _text(value)
    return values


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _check_columns(path: Path, columns: Mapping[str, str | int], record: Mapping[str | int, Any]) -> None:
    missing = [repr(column) for column in columns.values() if column not in record]
    if missing:
        present = ", ".join(str(column) for column in record)
        raise InputError(f"{path} has no column {', '.join(missing)}. Its columns: {present}.")


def _records(path: Path, problems: Problems, *, header: bool) -> Iterator[tuple[int, dict[str | int, Any]]]:
    name = path.name
    if name.endswith((".jsonl", ".jsonl.gz", ".json")):
        yield from _json_lines(path, problems)
    elif name.endswith(".parquet"):
        yield from _parquet(path)
    elif name.endswith((".csv", ".tsv", ".txt")):
        yield from _delimited(path, problems, header=header)
    else:
        raise InputError(f"{path}: cannot tell its format. Use a name that ends in {', '.join(FORMATS)}.")


def _lines(path: Path, problems: Problems) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_raw_lines(path, problems), 1):
        if line.strip():
            yield number, line.rstrip("\r\n")


def _raw_lines(path: Path, problems: Problems) -> Iterator[str]:
    """Every line of a file with its end; an empty one stands for a line that is not UTF-8, so that numbers hold."""
    opener = gzip.open if path.name.endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    problems.add(f"{path.name}:{number}", f"not UTF-8 (byte {error.start})")
                    yield "\n"
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{path} is not a whole gzip file: {error}.") from error


def _json_lines(path: Path, problems: Problems) -> Iterator[tuple[int, dict[str | int, Any]]]:
    for number, line in _lines(path, problems):
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            problems.add(f"{path.name}:{number}", f"not JSON ({error})")
            continue
        if not isinstance(record, dict):
            problems.add(f"{path.name}:{number}", f"a {type(record).__name__}, not a JSON object")
        elif "\\u" in line and (half := half_character(record)):
            problems.add(f"{path.name}:{number}", f"not text (\\u{ord(half):04x} is half a character)")
        else:
            yield number, record


def half_character(record: Any) -> str:
    """A surrogate without its other half, which JSON's escapes can write but no text holds; empty: there is none."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return str(error.object[error.start])
    return ""


def _parquet(path: Path) -> Iterator[tuple[int, dict[str | int, Any]]]:
    import pyarrow  # noqa: PLC0415 (slow to import, seldom needed)
    import pyarrow.parquet  # noqa: PLC0415

    try:
        file = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}.") from error


def _delimited(path: Path, problems: Problems, *, header: bool) -> Iterator[tuple[int, dict[str | int, Any]]]:
    if path.name.endswith(".csv"):
        cells = _csv_cells(path, problems)
    else:
        cells = ((number, line.split("\t")) for number, line in _lines(path, problems))
    names: list[str] | None = None
    width = 0
    for number, row in cells:
        if not width:
            width = len(row)
            if header:
                names = [cell.strip() for cell in row]
                _check_names(path, names)
                continue
        if len(row) != width:
            problems.add(f"{path.name}:{number}", f"{len(row)} cells, expected {width}")
        else:
            yield number, dict(zip(names or range(width), row, strict=True))


def _csv_cells(path: Path, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Records that are not blank, with the line each begins in."""
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(_raw_lines(path, problems), strict=True)
    begin = 1
    try:
        for row in reader:
            if row and not "".join(row).isspace():
                yield begin, row
            begin = reader.line_num + 1
    except csv.Error as error:
        problems.add(f"{path.name}:{begin}", f"not CSV ({error})")


def _check_names(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(f"{path} has several columns {', '.join(map(repr, twice))}: rename them, or keep one of each.")
