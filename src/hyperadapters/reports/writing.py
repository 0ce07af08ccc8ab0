"""Reports as files: what stands in one, and its Markdown, LaTeX and HTML with their figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hyperadapters._utils import expand_path, follow_links, make_output, write_bytes, write_text
from hyperadapters.reports.document import _FIGURES, Section, _number_figures
from hyperadapters.reports.drawing import render_figure
from hyperadapters.reports.html import _html_page
from hyperadapters.reports.latex import _latex_document
from hyperadapters.reports.markdown import _markdown_document
from hyperadapters.reports.notes import versions_differ
from hyperadapters.reports.reading import read_embeddings
from hyperadapters.reports.sections.costs import _cost_sections
from hyperadapters.reports.sections.embeddings import _embedding_sections
from hyperadapters.reports.sections.learning_curves import _learning_curve_sections
from hyperadapters.reports.sections.low_resource import _low_resource_sections
from hyperadapters.reports.sections.scores import _score_section
from hyperadapters.reports.tables import _score_tables
from hyperadapters.runs import Result

_TITLE = "Results"


def report(results: Mapping[Path, Result], problems: Sequence[str] = ()) -> list[Section]:
    """Return every section for which there are results.

    Args:
        results: by the folder that holds each, where its adapter may lie too.
        problems: what is wrong with results that were left out, in words.
    """
    runs = list(results.values())
    tables = _score_tables(runs)
    embeddings, damaged = read_embeddings(results)
    notes = [*versions_differ(runs), *(f"Left out: {problem}" for problem in dict.fromkeys([*problems, *damaged]))]
    sections = [
        *map(_score_section, tables),
        *_low_resource_sections(runs),
        *(section for table in tables for section in _cost_sections(table)),
        *_embedding_sections(results, embeddings),
        *(section for table in tables for section in _learning_curve_sections(table)),
        *([Section("What to know of these results", notes=notes)] if notes else []),
    ]
    return _number_figures(sections)


def write_report(results: Mapping[Path, Result], folder: Path, problems: Sequence[str] = ()) -> dict[str, str]:
    """Write `report.md`, `report.tex`, `report.html` and the folder `figures` (SVG and PDF).

    Args:
        results: by the folder that holds each, as `read_results` returns them.
        folder: where to write; made if it is not there.
        problems: what is wrong with results that were left out, for the report to name.

    Returns:
        The paths of the documents, under "markdown", "latex" and "page".

    Raises:
        InputError: the folder cannot be written.
    """
    folder, sections = expand_path(folder), report(results, problems)
    make_output(folder / _FIGURES)
    drawings = _write_figures(sections, folder / _FIGURES)
    contents = {
        "markdown": ("report.md", _markdown_document(_TITLE, sections)),
        "latex": ("report.tex", _latex_document(_TITLE, sections)),
        "page": ("report.html", _html_page(_TITLE, sections, drawings)),
    }
    for name, content in contents.values():
        write_text(follow_links(folder / name), content)
    return {kind: str(folder / name) for kind, (name, _) in contents.items()}


def _write_figures(sections: Sequence[Section], folder: Path) -> dict[str, str]:
    """Write every figure as SVG and PDF; return the SVG documents by the figures' names."""
    drawings = {}
    for figure in (figure for section in sections for figure in section.figures):
        contents = render_figure(figure, "svg", "pdf")
        for ending, content in contents.items():
            write_bytes(follow_links(folder / f"{figure.name}.{ending}"), content)
        drawings[figure.name] = contents["svg"].decode()
    return drawings
