"""What a report is made of: sections of tables, notes and figures, before they become Markdown, LaTeX or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hyperadapters._utils import occurrences
from hyperadapters.reports.figures import Figure

_FIGURES = "figures"
"""The folder of the figures' files, beside the documents."""


@dataclass(frozen=True)
class _Grid:
    """A table of text."""

    columns: Sequence[str]
    groups: Sequence[Sequence[Sequence[str]]]
    """Groups of rows that stay together when the page is sorted, such as ours and the paper's below it."""
    labels: int = 1
    """How many of the first columns are names; the others are numbers."""

    @property
    def rows(self) -> list[Sequence[str]]:
        """All rows, group by group."""
        return [row for group in self.groups for row in group]


@dataclass(frozen=True)
class Section:
    """A heading with its tables, notes and figures."""

    title: str
    grids: Sequence[_Grid] = ()
    notes: Sequence[str] = ()
    figures: Sequence[Figure] = ()


def _number_figures(sections: Sequence[Section]) -> list[Section]:
    """Return the sections with every figure's file name made unique: titles may differ in punctuation alone."""
    numbers = iter(occurrences(figure.name for section in sections for figure in section.figures))
    return [
        replace(section, figures=[replace(figure, number=next(numbers)) for figure in section.figures])
        for section in sections
    ]
