"""Records of JSONL, CSV, TSV and Parquet files, as they stand there."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, UnavailableError, listed

_LONGEST_CELL = 2**31 - 1
"""Characters of a cell of CSV, the most that Python's reader takes everywhere."""

_LONGEST_LINE = 2**26
"""Bytes; a longer line is no row, and a small .gz file may hold lines of many gigabytes."""

_BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
"""How files begin that some programs write as "Unicode text"; UTF-32's begins like UTF-16's."""

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
        raise UnavailableError(f"{path} does not exist (looked in {path.parent.resolve()}).")
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
    """Yield every line of a file with its end; an empty one stands for a line that is no text: numbers stay right.

    Raises:
        InputError: the file is in UTF-16, or is damaged or cannot be read.
    """
    for number, line in enumerate(_lines_of_bytes(path), 1):
        if number == 1 and line[:2] in _BYTE_ORDER_MARKS:
            kind = _BYTE_ORDER_MARKS[line[:2]]
            raise InputError(f"{path} is in {kind}: save it as UTF-8 (iconv -f {kind} -t UTF-8).")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if "\0" not in text:
                yield text
                continue
            problems.add(f"{path.name}:{number}", "not text: it holds a zero byte (is the file in UTF-16?)")
        except UnicodeDecodeError as error:
            problems.add(f"{path.name}:{number}", f"not UTF-8 (byte {error.start})")
        yield "\n"


def _lines_of_bytes(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, which may be compressed, each with its end.

    Raises:
        InputError: it is damaged, cannot be read, or has a line of more than `_LONGEST_LINE` bytes.
    """
    compressed = path.name.endswith(".gz")
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            for number, line in enumerate(iter(partial(file.readline, _LONGEST_LINE + 1), b""), 1):
                if len(line) > _LONGEST_LINE:
                    raise InputError(f"{path}:{number} has more than {_LONGEST_LINE:,} bytes, which is no row.")
                yield line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file: {error}. Use an intact copy.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _json_lines(path: Path, problems: _Problems) -> Iterator[tuple[int, dict[str | int, Any]]]:
    for number, line in _lines(path, problems):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:  # no JSON, or a number of too many digits
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

    try:
        yield from enumerate(_parquet_records(path), 1)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is not a readable Parquet file: {why}. Use an intact copy.") from error


def _parquet_records(path: Path) -> Iterator[dict[str | int, Any]]:
    import pyarrow.parquet  # noqa: PLC0415 (slow to import, seldom needed)

    for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
        yield from batch.to_pylist()


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
