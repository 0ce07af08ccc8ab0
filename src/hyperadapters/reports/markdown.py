"""Tables and whole reports in Markdown."""

from collections.abc import Sequence

from tabulate import tabulate

from hyperadapters.reports.document import _FIGURES, Section


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, labels: int = 1) -> str:
    """Return a table in Markdown: names to the left, numbers to the right.

    Args:
        columns: headings.
        rows: a text for each column.
        labels: how many of the first columns are names.
    """
    align = ["left"] * labels + ["right"] * (len(columns) - labels)
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    headings = [heading.replace("|", r"\|") for heading in columns]
    table: str = tabulate(cells, headers=headings, tablefmt="pipe", disable_numparse=True, colalign=align)
    return table


def _markdown_document(title: str, sections: Sequence[Section]) -> str:
    """Return a report in Markdown; its figures are the SVG files beside it."""
    return "\n".join([f"# {title}\n", *map(markdown_section, sections)])


def markdown_section(section: Section) -> str:
    """Return a section in Markdown."""
    blocks = [f"## {section.title}"]
    blocks += [markdown_table(grid.columns, grid.rows, labels=grid.labels) for grid in section.grids]
    blocks += ["\n".join(f"- {note}" for note in section.notes)] if section.notes else []
    for figure in section.figures:
        caption = f"{figure.title}: {figure.caption}" if figure.caption else figure.title
        blocks += [f"![{figure.title}]({_FIGURES}/{figure.name}.svg)", f"*{caption}*"]
    return "\n\n".join(blocks) + "\n"
