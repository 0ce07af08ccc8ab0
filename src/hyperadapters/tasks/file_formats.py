"""Records of JSONL, CSV, TSV and Parquet files, as they stand there."""

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, listed

_LONGEST_CELL = 2**31 - 1
"""Characters of a cell of CSV, the most that Python's reader takes everywhere."""

_FORMATS = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")


class _Problems:
    """What is wrong with a file, collected to be raised all at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, place: str, what: str) -> None:
        """Note a problem at a place, such as file and line."""
        self.found.append(f"{place}: {what}")

    def raise_any(self, path: Path) -> None:
        """Raise InputError with the first ten problems, if there are any."""
        if self.found:
            raise InputError(f"{path} has {len(self.found)} bad row(s):\n  {listed(self.found)}")


def _existing(path: Path) -> Path:
    """Return a file's path; raise InputError if there is no such file."""
    if not path.is_file():
        raise InputError(f"{path} does not exist (looked in {path.parent.resolve()}).")
    return path


def _read_records(path: Path, problems: _Problems, *, header: bool) -> Iterator[tuple[int, dict[str | int, Any]]]:
    """Yield a file's records as they are, each with its line or number.

    Args:
        path: JSONL (plain or .gz), CSV, TSV or Parquet, by its ending.
        problems: collects bad lines, which are left out.
        header: whether the first line of a CSV or TSV names the columns; without it they are numbered from 0.

    Raises:
        InputError: the format is unknown, the file is damaged as a whole, or column names occur twice.
    """
    name = path.name
    if name.endswith((".jsonl", ".jsonl.gz", ".json")):
        yield from _json_lines(path, problems)
    elif name.endswith(".parquet"):
        yield from _parquet(path)
    elif name.endswith((".csv", ".tsv", ".txt")):
        yield from _delimited(path, problems, header=header)
    else:
        raise InputError(f"{path}: cannot tell its format. Use a name that ends in {', '.join(_FORMATS)}.")


def _lines(path: Path, problems: _Problems) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_raw_lines(path, problems), 1):
        if line.strip():
            yield number, line.rstrip("\r\n")


def _raw_lines(path: Path, problems: _Problems) -> Iterator[str]:
    """Yield every line of a file with its end; an empty one stands for a line that is not UTF-8: numbers stay right."""
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


def _json_lines(path: Path, problems: _Problems) -> Iterator[tuple[int, dict[str | int, Any]]]:
    for number, line in _lines(path, problems):
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            problems.add(f"{path.name}:{number}", f"not JSON ({error})")
            continue
        if not isinstance(record, dict):
            problems.add(f"{path.name}:{number}", f"a {type(record).__name__}, not a JSON object")
        elif "\\u" in line and (half := _half_character(record)):
            problems.add(f"{path.name}:{number}", f"not text (\\u{ord(half):04x} is half a character)")
        else:
            yield number, record


def _half_character(record: Any) -> str:
    """Return a surrogate without its other half, which JSON's escapes can write but no text holds; empty: none."""
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


def _delimited(path: Path, problems: _Problems, *, header: bool) -> Iterator[tuple[int, dict[str | int, Any]]]:
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


def _csv_cells(path: Path, problems: _Problems) -> Iterator[tuple[int, list[str]]]:
    """Yield records that are not blank, with the line in which each begins."""
    csv.field_size_limit(_LONGEST_CELL)
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
