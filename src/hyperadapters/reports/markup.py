"""Sections of tables, remarks and figures, in Markdown and in LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hyperadapters.reports.figures import Figure

FIGURES = "figures"
"""Folder of the figures, beside the documents."""


@dataclass(frozen=True)
class Grid:
    """A table of text."""

    columns: Sequence[str]
    groups: Sequence[Sequence[Sequence[str]]]
    """Rows that stay together, such as ours and the paper's below it."""
    labels: int = 1
    """How many of the first columns are names, not numbers."""

    @property
    def rows(self) -> list[Sequence[str]]:
        """All rows."""
        return [row for group in self.groups for row in group]


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it."""

    title: str
    grids: Sequence[Grid] = ()
    notes: Sequence[str] = ()
    figures: Sequence[Figure] = field(default_factory=tuple)


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The whole document in Markdown; figures are the SVG files beside it."""
    return "\n".join([f"# {title}", "", *(line for section in sections for line in in_markdown(section))])


def in_markdown(section: Section) -> list[str]:
    """A section's lines."""
    lines = [f"## {section.title}", ""]
    for grid in section.grids:
        lines += [
            f"| {' | '.join(grid.columns)} |",
            "|" + "---|" * grid.labels + "---:|" * (len(grid.columns) - grid.labels),
            *(f"| {' | '.join(row)} |" for row in grid.rows),
            "",
        ]
    lines += [f"- {note}" for note in section.notes]
    lines += [""] if section.notes else []
    for figure in section.figures:
        caption = f": {figure.caption}" if figure.caption else ""
        lines += [f"![{figure.title}]({FIGURES}/{figure.name}.svg)", "", f"*{figure.title}{caption}*", ""]
    return lines


def latex(title: str, sections: Sequence[Section]) -> str:
    r"""Tables and figures in LaTeX, to be `\input`; figures are the PDF files beside it."""
    head = [
        f"% {title}",
        r"% \usepackage[T1]{fontenc}, {booktabs}, {graphicx}; \graphicspath{{FOLDER/}} if this file lies elsewhere.",
        "",
    ]
    return "\n".join([*head, *(line for section in sections for line in in_latex(section))])


def in_latex(section: Section) -> list[str]:
    """A section's tables and figures."""
    lines = []
    for grid in section.grids:
        body = [[table_row(row) for row in group] for group in grid.groups]
        lines += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(section.title)}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{'l' * grid.labels}{'r' * (len(grid.columns) - grid.labels)}}}",
            r"\toprule",
            table_row(grid.columns),
            r"\midrule",
            *(line for group in body for line in group),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            *(f"% {note}" for note in section.notes),
            "",
        ]
    for figure in section.figures:
        caption = f"{figure.title}: {figure.caption}" if figure.caption else figure.title
        lines += [
            r"\begin{figure}",
            r"\centering",
            rf"\includegraphics[width=\linewidth]{{{FIGURES}/{figure.name}.pdf}}",
            rf"\caption{{{escaped(caption)}}}",
            r"\end{figure}",
            "",
        ]
    return lines


def table_row(cells: Sequence[str]) -> str:
    """A row of a LaTeX table."""
    return " & ".join(escaped(cell) for cell in cells) + r" \\"


COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "[": "{[}",
    "Δ": r"$\Delta$",
    **{character: f"\\{character}" for character in "%_&#$"},
}
"""What LaTeX would read as commands, and what its fonts lack."""


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(COMMANDS.get(character, character) for character in text)
