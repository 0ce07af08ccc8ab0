"""Figures: the right points, the same bytes, labels that can be read."""

import re
from xml.etree import ElementTree

import pytest

from hyperadapters.reports.drawing import _draw, _figure_style, render_figure
from hyperadapters.reports.figures import _Figure, _Mark
from hyperadapters.reports.point_labels import _shared_area, _text_box
from hyperadapters.reports.svg import _inline_svg

SVG = "{http://www.w3.org/2000/svg}"


def svg(figure):
    return render_figure(figure, "svg")["svg"].decode()


def test_the_same_figure_gives_the_same_bytes():
    figures = [
        _Figure("t", {"a": [_Mark(1, 10, "low"), _Mark(9, 20, "high", margin=(1, 2))]}, "x", "y") for _ in range(2)
    ]
    assert render_figure(figures[0], "svg", "pdf", "png") == render_figure(figures[1], "svg", "pdf", "png")


def marks_of(drawing):
    """Where each point stands, by what hovering over it says."""
    root = ElementTree.fromstring(drawing)
    return {
        group.get("data-tip"): next((float(use.get("x")), float(use.get("y"))) for use in group.iter(f"{SVG}use"))
        for group in root.iter(f"{SVG}g")
        if group.get("data-tip")
    }


def test_a_figure_places_points_by_their_values():
    series = {"a": [_Mark(1, 10, "low"), _Mark(100, 20, "high")], "b": [_Mark(10, 15, "middle <&>")]}
    places = marks_of(svg(_Figure("t", series, "x", "y", log_x=True)))
    middle = [(a + b) / 2 for a, b in zip(places["low"], places["high"], strict=True)]
    assert places["middle <&>"] == pytest.approx(middle, abs=0.01)  # a decade is half of two; up is less
    assert places["high"][1] < places["low"][1]


def test_names_of_points_that_lie_close_do_not_cover_each_other():
    series = {f"method {n}": [_Mark(1 + n / 50, 10 + n % 3 / 50, str(n))] for n in range(10)}
    figure = _Figure("t", series, "x", "y", joined=False)
    with _figure_style(figure):
        (axes,) = _draw(figure).axes
    boxes = [_text_box(text) for text in axes.texts]
    assert len(boxes) == 10
    assert not any(_shared_area(a, b) for place, a in enumerate(boxes) for b in boxes[:place])


def test_an_inline_figure_takes_the_pages_colours_and_names_of_its_own():
    text = _inline_svg(
        svg(_Figure("One figure", {"a": [_Mark(1, 1, "tip"), _Mark(2, 2, "top")]}, "x", "y")), "one-figure"
    )
    assert text.startswith("<svg")
    assert "currentColor" in text
    assert "#1b1b1c" not in text
    assert set(re.findall(r'href="#(.*?)"', text)) <= set(re.findall(r'\bid="(.*?)"', text))
    assert all(name.startswith("one-figure-") for name in re.findall(r'\bid="(.*?)"', text))
