"""Names beside points, placed where they cover no other name and no point."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hyperadapters.reports.figures import _Figure, _Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.text import Text

_Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in pixels."""

_Offset = tuple[float, float, str, str]
"""Distance to the right and up, in points, and the label's horizontal and vertical alignment."""


def _label_points(canvas: "Canvas", axes: "Axes", figure: _Figure) -> None:
    """Write the name of every series beside its points."""
    canvas.draw_without_rendering()  # positions are known once the figure was laid out
    canvas.set_layout_engine("none")
    taken = [_mark_box(axes, mark) for mark in figure.marks]
    for name, marks in figure.series.items():
        for mark in marks:
            taken.append(_text_box(_place_label(axes, name, mark, taken)))


def _place_label(axes: "Axes", name: str, mark: _Mark, taken: Sequence[_Box]) -> "Text":
    """Write a name at the first free place around its point, else where it covers least."""
    canvas: _Box = tuple(axes.get_figure(root=True).bbox.extents)  # type: ignore[union-attr]
    tried: list[tuple[float, _Offset]] = []
    label = axes.annotate(name, (mark.x, mark.y), xytext=(0, 0), textcoords="offset points", fontsize=9)
    for offset in _offsets(mark.size / 2 + 3):
        _move_label(label, offset)
        box = _text_box(label)
        outside = _area(box) - _shared_area(box, canvas)
        tried.append((sum(_shared_area(box, other) for other in taken) + 4 * outside, offset))
        if not tried[-1][0]:
            return label
    _move_label(label, min(tried)[1])
    return label


def _move_label(label: "Text", offset: _Offset) -> None:
    """Put a label at an offset from its point."""
    x, y, horizontal, vertical = offset
    label.set_position((x, y))
    label.set_horizontalalignment(horizontal)  # type: ignore[arg-type]
    label.set_verticalalignment(vertical)  # type: ignore[arg-type]


def _offsets(start: float) -> Iterator[_Offset]:
    """Yield eight offsets around a point at each of four distances, nearest first, the first `start` points away."""
    for distance in (start, start + 9, start + 20, start + 32):
        yield 0, distance, "center", "bottom"
        yield 0, -distance, "center", "top"
        yield distance, 0, "left", "center"
        yield -distance, 0, "right", "center"
        for x, y in itertools.product((1, -1), (1, -1)):
            yield x * distance * 0.7, y * distance * 0.7, "left" if x > 0 else "right", "bottom" if y > 0 else "top"


def _mark_box(axes: "Axes", mark: _Mark) -> _Box:
    """Return the square that a point covers."""
    x, y = axes.transData.transform((mark.x, mark.y))
    half = mark.size / 2 * axes.figure.dpi / 72
    return x - half, y - half, x + half, y + half


def _text_box(label: "Text") -> _Box:
    """Return the rectangle that a text covers."""
    left, bottom, right, top = label.get_window_extent().extents
    return left, bottom, right, top


def _area(box: _Box) -> float:
    """Return the area of a rectangle, in square pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared_area(first: _Box, second: _Box) -> float:
    """Return the area that two rectangles share, in square pixels."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)
