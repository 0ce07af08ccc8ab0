"""Lines of text files, compressed or not, and what is wrong with them."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hyperadapters._utils import InputError, listed
from hyperadapters.tasks.reading import Reading

_LONGEST_LINE = 2**26
"""Bytes; a longer line is no row, and a small .gz file may hold lines of many gigabytes."""

_BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
"""How files begin that some programs write as "Unicode text"; UTF-32's begins like UTF-16's."""

_SKIP = "--skip-bad-rows (Reading(skip_bad_rows=True)) leaves such rows out, and says how many."

_DECODE = (
    "A file that Excel or an older program wrote is often in another encoding: give --encoding cp1252, or --encoding "
    "latin-1 (Reading(encoding=...)), or save it as UTF-8."
)


class _Problems:
    """What is wrong with a file, collected to be raised all at once.

    Args:
        options: the file is one that the options of `Reading` are for, so that errors name them.
    """

    def __init__(self, *, options: bool = False) -> None:
        self.options = options
        self.found: list[str] = []
        self.places: set[str] = set()
        """Where they are: a row may have several."""
        self.undecoded = False
        """Whether a line is in another encoding."""

    def add(self, place: str, what: str) -> None:
        """Note a problem at a place, such as file and line."""
        self.found.append(f"{place}: {what}")
        self.places.add(place)

    def note_encoding(self, place: str, reading: Reading, error: UnicodeDecodeError) -> None:
        """Note that a line, or a file, is in another encoding than it is read in."""
        self.undecoded = True
        self.add(place, f"not {'UTF-8' if reading.is_utf8 else reading.encoding} (byte {error.start})")

    def raise_any(self, path: Path | str) -> None:
        """Raise InputError with the first ten problems of a file, or of what else holds rows, if there are any."""
        if not self.found:
            return
        hints = [_DECODE if self.undecoded else _SKIP] if self.options else []
        raise InputError("\n  ".join([f"{path} has {len(self.places)} bad row(s):", listed(self.found), *hints]))


def _lines(path: Path, problems: _Problems, reading: Reading) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_raw_lines(path, problems, reading), 1):
        if line.strip():
            yield number, line.rstrip("\r\n")


def _raw_lines(path: Path, problems: _Problems, reading: Reading) -> Iterator[str]:
    """Yield every line of a file with its end; an empty one stands for a line that is no text: numbers stay right.

    Raises:
        InputError: the file is in UTF-16, its lines end with carriage returns alone, or it is damaged or cannot be
            read.
    """
    for number, line in enumerate(_lines_of_bytes(path), 1):
        if number == 1:
            _check_byte_order(path, line)
            line = line.removeprefix(codecs.BOM_UTF8) if reading.is_utf8 else line  # noqa: PLW2901
        try:
            text = line.decode(reading.encoding)
            if number == 1 and "\r" in text.rstrip("\r\n"):
                raise InputError(
                    f"{path}: its lines end with a carriage return alone (\\r), as old programs write them. Save it "
                    "with line feeds (\\n)."
                )
            if "\0" not in text:
                yield text
                continue
            problems.add(f"{path.name}:{number}", "not text: it holds a zero byte (is the file in UTF-16?)")
        except UnicodeDecodeError as error:
            problems.note_encoding(f"{path.name}:{number}", reading, error)
        yield "\n"


def _check_byte_order(path: Path, start: bytes) -> None:
    """Raise InputError if a file begins as those in UTF-16 do."""
    kind = _BYTE_ORDER_MARKS.get(start[:2])
    if kind:
        raise InputError(f"{path} is in {kind}: save it as UTF-8 (iconv -f {kind} -t UTF-8).")


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
