"""Records of CSV, TSV and TXT files."""

import csv
from collections.abc import Iterator
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError
from hyperadapters.tasks.notices import _say_once
from hyperadapters.tasks.reading import Reading
from hyperadapters.tasks.text_lines import _lines, _Problems, _raw_lines

_LONGEST_CELL = 2**31 - 1
"""Characters of a cell of CSV, the most that Python's reader takes everywhere."""

_MISSING = ("", "NA")
"""How programs write a cell that is missing without quotes, in a column whose cells stand in them."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What may stand between the cells of a CSV file: programs of many countries write semicolons."""


def _delimited(
    path: Path, problems: _Problems, reading: Reading, *, header: bool, official: bool
) -> Iterator[tuple[int, dict[str | int, Any]]]:
    """Yield the records of a file with a cell for every column, each with its line.

    Args:
        path: CSV, whose cells may stand in quotes; TSV or TXT, whose cells stand between tabs.
        problems: collects bad lines, which are left out.
        reading: its encoding, and its columns where the file has no header line.
        header: whether the first line names the columns; without it, and without `reading.columns`, they are numbered.
        official: the file is a benchmark's own: in TSV, quotation marks are part of the text, as in the papers' code.
            In others they are so unless a program that puts cells in quotes has written the file.

    Raises:
        InputError: the header cannot be read, has a name twice, or is there though `reading` names the columns.
    """
    if path.name.endswith(".csv"):
        cells = _csv_cells(path, problems, reading, header=header)
    elif not official and _is_quoted(path, reading):
        _say_once(f"{path}: cells stand in quotes.")
        cells = _csv_cells(path, problems, reading, header=header, separator="\t")
    else:
        cells = ((number, line.split("\t")) for number, line in _lines(path, problems, reading))
    names, width = list(reading.columns), len(reading.columns)
    for number, row in cells:
        if header and not names:
            problems.raise_any(path)  # a bad header is no bad row: the line after it would be taken for the header
            names, width = _header(path, row), len(row)
            continue
        width = width or len(row)
        if row == [*reading.columns]:
            raise InputError(f"{path.name}:{number} holds the names of the columns: leave out --columns.")
        if len(row) != width:
            problems.add(
                f"{path.name}:{number}",
                f"{len(row)} cells, {'--columns names' if reading.columns else 'expected'} {width}",
            )
        else:
            yield number, dict(zip(names or range(width), row, strict=True))


def _header(path: Path, row: list[str]) -> list[str]:
    """Return the names of the columns; raise InputError if one occurs twice."""
    names = [cell.strip() for cell in row]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(f"{path} has several columns {', '.join(map(repr, twice))}: rename them, or keep one of each.")
    return names


def _csv_cells(
    path: Path, problems: _Problems, reading: Reading, *, header: bool, separator: str = ""
) -> Iterator[tuple[int, list[str]]]:
    """Yield records that are not blank, with the line in which each begins.

    Args:
        path: as for `_delimited`.
        problems: likewise.
        reading: likewise.
        header: likewise.
        separator: what stands between cells; empty: the first line tells.

    Raises:
        InputError: bad rows are to be left out, and one would take all that follows with it.
    """
    csv.field_size_limit(_LONGEST_CELL)
    lines: Iterator[str] = _raw_lines(path, problems, reading)
    if not separator and (header or reading.columns):
        before = list(_up_to_text(lines))
        lines = chain(before, lines)
        separator = _separator(path, before[-1] if before else "", len(reading.columns))
    reader = csv.reader(lines, delimiter=separator or ",", strict=True)
    begin, more = 1, True
    while more:
        try:
            row = next(reader, None)
            if row and not "".join(row).isspace():
                yield begin, row
            more = row is not None
        except csv.Error as error:
            if reading.skip_bad_rows and "end of data" in str(error):
                raise InputError(
                    f"{path.name}:{begin}: a quotation mark begins a cell that does not end; --skip-bad-rows would "
                    "leave out all rows after it. Close the quotation, or write the mark twice."
                ) from error
            inside = "new-line character" in str(error)  # whose words are about Python's own arguments
            why = "a carriage return in a cell without quotes" if inside else error
            problems.add(f"{path.name}:{begin}", f"not CSV ({why})")
        begin = reader.line_num + 1


def _is_quoted(path: Path, reading: Reading) -> bool:
    """Return whether a program that puts cells in quotes has written a file with tabs, as pandas and R do.

    Quotation marks of texts that were written without quoting, as GLUE's files are, do not look like that: such a
    program puts a cell in quotes where it holds a mark, which it writes twice, or puts all cells of a column in quotes.

    Raises:
        InputError: all cells of a column stand in quotes, and some hold marks that are not written twice.
    """
    if not any('"' in line for line in _raw_lines(path, _Problems(), reading)):
        return False
    csv.field_size_limit(_LONGEST_CELL)
    taken: list[str] = []
    reader = csv.reader(_noted(_raw_lines(path, _Problems(), reading), taken), delimiter="\t", strict=True)
    minimal, columns = True, _QuotedColumns()
    try:
        for cells in reader:
            raw = "".join(taken).rstrip("\r\n")
            taken.clear()
            if raw:
                minimal = minimal and _written(cells) == raw
                columns.add(cells, raw)
            if not minimal and columns.broken:
                return False
        return minimal or columns.is_told
    except csv.Error as error:
        if _quoted_in_lines(path, reading):
            raise InputError(
                f"{path.name}: every cell of a column stands in quotation marks, but a mark inside of a cell is not "
                'written twice. Write it with two marks (R: qmethod="double"), or without any quoting (R: quote=FALSE).'
            ) from error
        return False


class _QuotedColumns:
    """Whether each column of a file has all its cells in quotes or none; missing ones and the header may differ."""

    def __init__(self) -> None:
        self.broken = False
        """Whether some column has both, or the file is not written like that at all."""
        self.is_told = False
        """Whether it has two rows to tell, or a header in quotes: of one row a text may have marks of its own."""
        self._rows = 0
        self._quoted: list[bool | None] = []

    def add(self, cells: list[str], raw: str) -> None:
        """Take the cells of the next row, and the row as it stands in the file."""
        found = self._as_written(cells, raw)
        self._rows += 1
        if found is None or (self._quoted and len(found) != len(self._quoted)):
            self.broken = True
            return
        self.is_told |= self._rows > 2 or (self._rows == 1 and True in found)
        if self._rows > 1:
            known = self._quoted or [None] * len(found)
            self._quoted = [old if new is None else new for old, new in zip(known, found, strict=True)]
            self.broken |= any(old not in (None, now) for old, now in zip(known, self._quoted, strict=True))

    @staticmethod
    def _as_written(cells: list[str], raw: str) -> list[bool | None] | None:
        """Return of each cell whether it stands in quotes, None where it is missing; None if none could stand so."""
        found: list[bool | None] = []
        for cell in cells:
            quoted = '"' + cell.replace('"', '""') + '"'
            is_quoted = raw.startswith(quoted)
            if not is_quoted and ('"' in cell or not raw.startswith(cell)):
                return None
            raw = raw[len(quoted if is_quoted else cell) :].removeprefix("\t")
            found.append(None if not is_quoted and cell in _MISSING else is_quoted)
        return found if not raw else None


def _quoted_in_lines(path: Path, reading: Reading) -> bool:
    """Return whether all cells of a column but its first stand between quotation marks, where lines are rows."""
    rows = [line.split("\t") for _, line in _lines(path, _Problems(), reading)][1:]
    if len(rows) < 2 or len({len(row) for row in rows}) > 1:
        return False
    marked = [[len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in row] for row in rows]
    return any(map(all, zip(*marked, strict=True)))


def _noted(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    """Yield lines and append each to a list."""
    for line in lines:
        taken.append(line)
        yield line


def _written(cells: list[str]) -> str:
    """Return cells as a line with tabs in which those stand in quotes that need it."""
    text = StringIO()
    csv.writer(text, delimiter="\t").writerow(cells)
    return text.getvalue().removesuffix("\r\n")


def _up_to_text(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines up to the first one that is not blank."""
    for line in lines:
        yield line
        if line.strip():
            return


def _separator(path: Path, line: str, columns: int) -> str:
    """Return what stands between the cells of a file, by its first line; says so where it is no comma.

    Args:
        path: the file.
        line: its first line that is not blank.
        columns: how many columns are named, of a file without a header; 0: the line is the header.
    """
    cells = {mark: len(next(csv.reader([line], delimiter=mark), [])) for mark in _SEPARATORS}
    fitting = [mark for mark, count in cells.items() if count == columns]
    mark = fitting[0] if fitting else max(cells, key=cells.__getitem__)  # the first of equal ones, the comma
    if mark != ",":
        _say_once(f"{path}: cells stand between {_SEPARATORS[mark]}, not commas.")
    return mark
