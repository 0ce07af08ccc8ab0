"""Tables of results for a terminal, which leave out columns rather than shorten what is in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from hyperadapters.runs import Result

_WIDE = 10_000
"""Columns of a console that holds any table."""


def _natural_width(table: Table) -> int:
    """Return how many columns a table takes when nothing in it is wrapped or cut."""
    console = Console(width=_WIDE, height=1)  # without a height, a dumb terminal is 80 wide whatever is asked for
    return console.measure(table).maximum


@dataclass(frozen=True)
class _ResultTable:
    """A row for each method: its name, which is never shortened, and numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    spare: Sequence[str] = field(default=())
    """Columns to leave out where there is no room, the first of them first."""

    def fitted(self, width: int | None) -> tuple[Table, list[str]]:
        """Return the table, and the columns left out so that it fits.

        Args:
            width: columns of the terminal; None: no limit.
        """
        left_out: list[str] = []
        table = self.without(left_out)
        for name in self.spare:
            if width is None or _natural_width(table) <= width:
                break
            left_out.append(name)
            table = self.without(left_out)
        return table, left_out

    def without(self, left_out: Sequence[str]) -> Table:
        """Return the table without some of its columns."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD)
        kept = [i for i, name in enumerate(self.columns) if name not in left_out]
        for i in kept:
            table.add_column(self.columns[i], justify="right" if i else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*(row[i] for i in kept))
        return table


_COSTS = ("activations", "generate", "step", "time", "peak memory", "invalid", "adapter", "trained")
"""Columns of a comparison that go first where there is no room: what can be looked up in its Markdown table too."""


def _comparison_table(results: "Sequence[Result]") -> _ResultTable:
    """Return runs of several methods on one task side by side: score, size, and what training costs."""
    from hyperadapters.reports import comparison_cells, comparison_title

    rows = [comparison_cells(result) for result in results]
    columns = list(rows[0])
    metrics = [name for name in columns[columns.index("score") + 1 : columns.index("time")] if name not in _COSTS]
    spare = [name for name in _COSTS if name in columns] + metrics[::-1]
    return _ResultTable(comparison_title(results), columns, [list(row.values()) for row in rows], spare)


def _result_table(result: "Result") -> Table:
    """Return one run, a line for each number."""
    from hyperadapters.reports import comparison_cells

    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    for name, value in comparison_cells(result).items():
        table.add_row("% of the backbone" if name == "%" else name, value)
    return table
