"""Figures: the right points, the same bytes, labels that can be read."""

import random
import re
from xml.etree import ElementTree

import pytest
from matplotlib.text import Text

from hyperadapters import METHODS
from hyperadapters.reports.drawing import _draw, _figure_style, render_figure
from hyperadapters.reports.figures import Figure, Mark
from hyperadapters.reports.point_labels import _bar_box, _point_box, _shared_area
from hyperadapters.reports.svg import _inline_svg

SVG = "{http://www.w3.org/2000/svg}"


def svg(figure):
    return render_figure(figure, "svg")["svg"].decode()


@pytest.mark.slow  # renders six files
def test_the_same_figure_gives_the_same_bytes():
    figures = [Figure("t", {"a": [Mark(1, 10, "low"), Mark(9, 20, "high", margin=(1, 2))]}, "x", "y") for _ in range(2)]
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
    series = {"a": [Mark(1, 10, "low"), Mark(100, 20, "high")], "b": [Mark(10, 15, "middle <&>")]}
    places = marks_of(svg(Figure("t", series, "x", "y", log_x=True)))
    middle = [(a + b) / 2 for a, b in zip(places["low"], places["high"], strict=True)]
    assert places["middle <&>"] == pytest.approx(middle, abs=0.01)  # a decade is half of two; up is less
    assert places["high"][1] < places["low"][1]


SIZES = ((6.0, "12.3 MB"), (26.0, "310.4 MB"))


def compared(kind, seed):
    """A comparison of every method: spread out with error bars, close together, or in a few crowds."""
    draw, series = random.Random(seed), {}
    for number, name in enumerate(METHODS):
        x, y = 10 ** draw.uniform(-3, 2), draw.uniform(50, 90)
        if kind == "close":
            x, y = 0.1 * 10 ** draw.uniform(-0.2, 0.2), 70 + draw.uniform(-1, 1)
        elif kind == "crowds":
            x, y = 10.0 ** (number % 3) + draw.uniform(0, 0.3), 60 + 10 * (number % 3) + draw.uniform(0, 1)
        margin = (draw.uniform(0, 3), draw.uniform(0, 3)) if kind == "spread" else None
        series[name] = [Mark(x, y, name, 4 + 22 * draw.random(), margin)]
    titles = {"x_title": "trained parameters", "y_title": "score", "sizes_title": "peak memory:", "sizes": SIZES}
    return Figure("t", series, **titles, log_x=True, joined=False)


def drawn(figure):
    """The canvas of a figure, laid out."""
    with _figure_style(figure):
        canvas = _draw(figure)
        canvas.draw_without_rendering()
    return canvas


def collisions(canvas, figure):
    """What a text of a figure covers: a point, an error bar, an axis, or another text."""
    (axes,) = canvas.axes
    frame = axes.get_window_extent().extents
    edges = [(frame[0] - 1, frame[1], frame[0] + 1, frame[3]), (frame[0], frame[1] - 1, frame[2], frame[1] + 1)]
    marks = [box(axes, mark) for mark in figure.marks for box in (_point_box, _bar_box)]
    texts = [text for text in canvas.findobj(Text) if text.get_text() and text.get_visible()]
    boxes = {text: tuple(Text.get_window_extent(text).extents) for text in texts}
    ticks, shown = set(), set()
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        ticks |= {*axis.get_ticklabels()}
        shown |= {tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high}
    names = [text for text in texts if text not in ticks]
    found = [text.get_text() for text in names if any(_shared_area(boxes[text], box) for box in [*marks, *edges])]
    pairs = [(one, other) for i, one in enumerate(names) for other in [*names[:i], *shown & set(texts)]]
    found += [f"{a.get_text()}, {b.get_text()}" for a, b in pairs if _shared_area(boxes[a], boxes[b])]
    width, height = canvas.bbox.size
    inside = {t: x >= 0 and y >= 0 and u <= width and v <= height for t, (x, y, u, v) in boxes.items()}
    return found + [text.get_text() for text in names if not inside[text]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["spread", "close", "crowds"])
def test_names_cover_no_point_no_axis_and_no_other_name(kind, seed):
    figure = compared(kind, seed)
    canvas = drawn(figure)
    assert collisions(canvas, figure) == []
    shown = {text.get_text() for text in canvas.findobj(Text)}
    assert {*figure.series, "peak memory:", "12.3 MB", "310.4 MB"} <= shown


def test_points_without_room_for_their_names_have_a_legend():
    series = {f"method {n}": [Mark(0.1, 70, str(n), 20)] for n in range(60)}
    figure = Figure("t", series, "x", "y", log_x=True, joined=False)
    canvas = drawn(figure)
    assert not canvas.axes[0].texts
    assert [text.get_text() for text in canvas.legends[-1].get_texts()] == list(series)
    assert collisions(canvas, figure) == []
    assert canvas.get_size_inches()[1] > 5


def test_a_legend_says_what_the_size_of_circles_is():
    canvas = drawn(compared("spread", 0))
    circles = [handle for handle in canvas.legends[0].legend_handles if handle.get_marker() == "o"]
    assert [circle.get_markersize() for circle in circles] == [diameter for diameter, _ in SIZES]
    assert canvas.legends[0].get_window_extent().ymin >= canvas.axes[0].get_window_extent().ymax


def test_letters_have_nine_pixels_at_least_in_a_window_of_400():
    figure = compared("spread", 0)
    canvas = drawn(figure)
    sizes = [text.get_fontsize() for text in canvas.findobj(Text) if text.get_text()]
    assert min(sizes) * 400 / (72 * canvas.get_size_inches()[0]) >= 8.9


def test_values_that_lie_close_have_several_ticks_between_them():
    (axes,) = drawn(compared("close", 1)).axes
    low, high = axes.get_xlim()
    assert sum(low <= place <= high for place in axes.xaxis.get_majorticklocs()) >= 3


def test_an_inline_figure_takes_the_pages_colours_and_names_of_its_own():
    text = _inline_svg(svg(Figure("One figure", {"a": [Mark(1, 1, "tip"), Mark(2, 2, "top")]}, "x", "y")), "one-figure")
    assert text.startswith("<svg")
    assert "currentColor" in text
    assert "#1b1b1c" not in text
    assert set(re.findall(r'href="#(.*?)"', text)) <= set(re.findall(r'\bid="(.*?)"', text))
    assert all(name.startswith("one-figure-") for name in re.findall(r'\bid="(.*?)"', text))
