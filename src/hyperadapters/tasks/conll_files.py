"""Sentences of CoNLL files: a word in each line, its tag in the last column, a blank line between sentences."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hyperadapters.tasks.reading import Reading
from hyperadapters.tasks.text_lines import _Problems, _raw_lines

_WORDS, _TAGS = "tokens", "tags"
"""The names of the two columns of a row, which are the ones that data sets of the Hub have."""


def _conll_rows(path: Path, problems: _Problems, reading: Reading) -> Iterator[tuple[int, dict[str | int, Any]]]:
    """Yield the sentences of a file, each with the line of its first word.

    Columns stand between tabs or, where a line has none, spaces; the first is the word and the last its tag. A sentence
    of words alone has no tags. `-DOCSTART-` lines are no words.
    """
    first, words = 0, list[list[str]]()
    for number, line in enumerate(_raw_lines(path, problems, reading), 1):
        cells = [cell.strip() for cell in line.split("\t" if "\t" in line.strip() else " ") if cell.strip()]
        if cells and cells[0] != "-DOCSTART-":
            first = first or number
            words.append(cells)
        elif words:
            yield from _sentence(path, first, words, problems)
            first, words = 0, []
    if words:
        yield from _sentence(path, first, words, problems)


def _sentence(
    path: Path, first: int, words: list[list[str]], problems: _Problems
) -> Iterator[tuple[int, dict[str | int, Any]]]:
    """Yield one sentence as a row, unless some of its lines have no tag."""
    short = [first + place for place, cells in enumerate(words) if len(cells) < 2]
    if len(short) == len(words):
        yield first, {_WORDS: [cells[0] for cells in words]}
        return
    if short:
        problems.add(f"{path.name}:{short[0]}", "a word without a tag; a line is a word, perhaps more, and the tag")
        return
    yield first, {_WORDS: [cells[0] for cells in words], _TAGS: [cells[-1] for cells in words]}
