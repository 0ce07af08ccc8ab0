"""A report as one HTML page that holds its style, script and drawings and fetches nothing."""

import re
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from hyperadapters._utils import numbered, occurrences, slug
from hyperadapters.reports.document import Section
from hyperadapters.reports.svg import _inline_svg

_NUMBER = re.compile(r"([+-]?\d[\d,]*(?:\.\d+)?)(?: (kB|MB|GB))?")
_UNITS = {None: 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def _html_page(title: str, sections: Sequence[Section], drawings: Mapping[str, str]) -> str:
    """Return a report as an HTML page: a table of contents, then every section (`page.html.j2`).

    Args:
        title: of the page.
        sections: in the order in which they stand.
        drawings: the SVG document of every figure, by the figure's name.
    """
    template = _page_templates().get_template("page.html.j2")
    inlined = {name: _inline_svg(drawing, name) for name, drawing in drawings.items()}
    return template.render(title=title, sections=sections, anchors=_anchors(sections), drawings=inlined) + "\n"


def _page_templates() -> Environment:
    """Return the templates of this folder; what is put into them is escaped."""
    loader = PackageLoader("hyperadapters.reports", ".")
    templates = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    templates.filters["sort_value"] = _sort_value
    return templates


def _anchors(sections: Sequence[Section]) -> list[str]:
    """Return an identifier for each section, different from all others."""
    names = [f"s-{slug(section.title)}" for section in sections]
    return [numbered(name, number) for name, number in zip(names, occurrences(names), strict=True)]


def _sort_value(cell: str) -> str | None:
    """Return what a cell is sorted by: the number it begins with, in its unit; None for other text."""
    found = _NUMBER.match(cell)
    return f"{float(found[1].replace(',', '')) * _UNITS[found[2]]:.12g}" if found else None
