"""Records of JSON, CSV, TSV and Parquet files, as they stand there."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, UnavailableError, check_extra
from hyperadapters.tasks.conll_files import _conll_rows
from hyperadapters.tasks.delimited_files import _delimited
from hyperadapters.tasks.reading import AS_USUAL, Reading
from hyperadapters.tasks.squad_files import _squad_records
from hyperadapters.tasks.text_lines import _lines, _Problems

_DELIMITED = (".csv", ".tsv", ".txt")
"""Files of cells; those of .txt stand between tabs, as in .tsv."""

_FORMATS = (".jsonl", ".jsonl.gz", ".json", *_DELIMITED, ".parquet", ".conll")


def _existing(path: Path) -> Path:
    """Return a file's path; raise InputError if there is no such file."""
    if not path.is_file():
        raise UnavailableError(f"{path} does not exist (looked in {path.parent.resolve()}).")
    return path


def _read_records(
    path: Path, problems: _Problems, reading: Reading = AS_USUAL, *, header: bool = True, official: bool = False
) -> Iterator[tuple[int, dict[str | int, Any]]]:
    """Yield a file's records as they are, each with its line or number.

    Args:
        path: JSON (lines, plain or .gz, or an array), CSV, TSV, Parquet or CoNLL, by its ending.
        problems: collects bad lines, which are left out.
        reading: encoding of a text file, and its columns if it names none.
        header: whether the first line of a CSV or TSV names the columns; without it they are numbered from 0.
        official: the file is a benchmark's own (`_delimited`).

    Raises:
        InputError: the format is unknown, the file is damaged as a whole, column names occur twice, or `reading` names
            columns of a format that names them itself.
    """
    name = path.name
    if name.endswith(_DELIMITED):
        yield from _delimited(path, problems, reading, header=header, official=official)
        return
    if not name.endswith(_FORMATS):
        raise InputError(f"{path}: cannot tell its format. Use a name that ends in {', '.join(_FORMATS)}.")
    if reading.columns:
        raise InputError(f"{path} names its columns itself: --columns is for CSV, TSV and TXT files without a header.")
    if name.endswith(".conll"):
        yield from _conll_rows(path, problems, reading)
    elif name.endswith(".parquet"):
        yield from _parquet(path)
    elif name.endswith(".json") and _is_array(path):
        yield from _json_array(path, problems, reading)
    else:
        yield from _json_lines(path, problems, reading)


def _is_array(path: Path) -> bool:
    """Return whether a file of JSON is one array, rather than an object in each line."""
    try:
        with path.open("rb") as file:
            start = file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    return start.startswith(b"[")


def _json_array(path: Path, problems: _Problems, reading: Reading) -> Iterator[tuple[int, dict[str | int, Any]]]:
    """Yield the objects of a file that is one array, each with its number from 1.

    Raises:
        InputError: it is no JSON.
    """
    text = _whole_text(path, problems, reading)
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} begins as an array of objects, and is not JSON: {error}.") from error
    for number, record in enumerate(records, 1):
        if _is_row(record, "\\u" in text, f"{path.name}:{number}", problems):
            yield number, record


def _whole_text(path: Path, problems: _Problems, reading: Reading) -> str:
    """Return what a text file holds; raise InputError if it is in another encoding."""
    try:
        return path.read_bytes().decode("utf-8-sig" if reading.is_utf8 else reading.encoding)
    except UnicodeDecodeError as error:
        problems.note_encoding(path.name, reading, error)
        problems.raise_any(path)
        raise


def _json_lines(path: Path, problems: _Problems, reading: Reading) -> Iterator[tuple[int, dict[str | int, Any]]]:
    """Yield the objects of a file that holds one in each line, with the line.

    Raises:
        InputError: the first line of a .json file is no JSON, as of one that is a single object.
    """
    for number, line in _lines(path, problems, reading):
        try:
            record = json.loads(line)
            if number == 1 and (questions := _questions(path, record)) is not None:
                yield from enumerate(questions, 1)
                return
        except (ValueError, RecursionError) as error:  # no JSON, or a number of too many digits
            if number == 1 and path.suffix == ".json":
                if (questions := _questions(path, _whole_json(path, problems, reading))) is not None:
                    yield from enumerate(questions, 1)
                    return
                raise InputError(
                    f"{path} holds neither an array of objects nor one object in each line: {error}."
                ) from error
            problems.add(f"{path.name}:{number}", f"not JSON ({error})")
            continue
        if _is_row(record, "\\u" in line, f"{path.name}:{number}", problems):
            yield number, record


def _whole_json(path: Path, problems: _Problems, reading: Reading) -> Any:
    """Return what a file of JSON holds; None if it is no JSON."""
    try:
        return json.loads(_whole_text(path, problems, reading))
    except (ValueError, RecursionError):
        return None


def _questions(path: Path, data: Any) -> list[dict[str | int, Any]] | None:
    """Return the questions of a .json file in SQuAD's form as rows; None if it is another file.

    Raises:
        InputError: it begins as such a file and goes on otherwise.
    """
    try:
        return _squad_records(data) if path.suffix == ".json" else None
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} begins as a file of SQuAD and goes on otherwise ({error!r}).") from error


def _is_row(record: Any, has_escapes: bool, place: str, problems: _Problems) -> bool:
    """Return whether a record of JSON is an object of whole characters; if not, note what it is."""
    if not isinstance(record, dict):
        problems.add(place, f"a {type(record).__name__}, not a JSON object")
    elif has_escapes and (half := _half_character(record)):
        problems.add(place, f"not text (\\u{ord(half):04x} is half a character)")
    else:
        return True
    return False


def _half_character(record: Any) -> str:
    """Return a surrogate without its other half, which JSON's escapes can write but no text holds; empty: none."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return str(error.object[error.start])
    return ""


def _parquet(path: Path) -> Iterator[tuple[int, dict[str | int, Any]]]:
    check_extra("data", f"{path}, a Parquet file", "pyarrow")
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
