"""Changes to the SVG documents that matplotlib writes: tips on points, and drawings inside a page."""

import re
from collections.abc import Sequence
from html import escape

from hyperadapters.reports.figures import Mark

_INK, _PAPER = "#1b1b1c", "#fffffe"
"""Colours of text and background. Nothing else in a drawing has them, so a page can put its own in their place."""


def _add_tips(drawing: str, marks: Sequence[Mark]) -> str:
    """Return an SVG document in which every point has a title and the attribute `data-tip`."""
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    for number, mark in enumerate(marks):
        tip = escape(mark.tip, quote=True)
        attributes = f'tabindex="0" role="img" aria-label="{tip}" data-tip="{tip}"'
        text = text.replace(f'<g id="mark-{number}">', f'<g id="mark-{number}" {attributes}><title>{tip}</title>')
    return text


def _inline_svg(drawing: str, name: str) -> str:
    """Return an SVG document as an element of a page, in the page's colours.

    Args:
        drawing: the document.
        name: put before its identifiers, so that several drawings on a page do not share any.
    """
    text = drawing[drawing.index("<svg") :]
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    return text.replace(_INK, "currentColor").replace(_PAPER, "none")
