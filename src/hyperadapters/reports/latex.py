r"""Tables and figures in LaTeX, to be `\input`."""

from collections.abc import Sequence

from hyperadapters.reports.document import _FIGURES, Section, _Grid
from hyperadapters.reports.figures import Figure

_COMMANDS = {
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
"""Characters that LaTeX reads as commands or that its fonts lack, and how it prints them."""


def _latex_document(title: str, sections: Sequence[Section]) -> str:
    """Return a report's tables and figures in LaTeX; the figures are the PDF files beside it."""
    head = (
        f"% {title}\n"
        r"% \usepackage[T1]{fontenc}, {booktabs}, {graphicx}; \graphicspath{{FOLDER/}} if this file lies elsewhere."
    )
    return "\n\n".join([head, *(block for section in sections for block in _latex_section(section))]) + "\n"


def _latex_section(section: Section) -> list[str]:
    """Return a section's tables, each with the section's notes as comments, and its figures."""
    notes = "".join(f"\n% {note}" for note in section.notes)
    return [
        *(_latex_table(grid, section.title) + notes for grid in section.grids),
        *(_latex_figure(figure) for figure in section.figures),
    ]


def _latex_table(grid: _Grid, caption: str) -> str:
    """Return a table that is made smaller if it is wider than the line."""
    head, *rows = (" & ".join(map(_escape_latex, cells)) + r" \\" for cells in (grid.columns, *grid.rows))
    alignment = "l" * grid.labels + "r" * (len(grid.columns) - grid.labels)
    tabular = "\n".join(
        [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    )
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape_latex(caption)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        f"{tabular}}}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _latex_figure(figure: Figure) -> str:
    """Return a figure over the whole line."""
    caption = f"{figure.title}: {figure.caption}" if figure.caption else figure.title
    lines = [
        r"\begin{figure}",
        r"\centering",
        rf"\includegraphics[width=\linewidth]{{{_FIGURES}/{figure.name}.pdf}}",
        rf"\caption{{{_escape_latex(caption)}}}",
        r"\end{figure}",
    ]
    return "\n".join(lines)


def _escape_latex(text: str) -> str:
    """Return text as LaTeX prints it."""
    return "".join(_COMMANDS.get(character, character) for character in text)
