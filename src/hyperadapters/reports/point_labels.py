"""Names beside points, placed where they cover no other name, no point, no error bar and no axis."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hyperadapters.reports.figures import Figure, Mark
from hyperadapters.reports.svg import _INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.text import Text

_Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in pixels."""

_SIZE = 9.5
"""Of names, in points."""

_PAD = 2.0
"""Free pixels around a name: a browser's font may be a little wider."""

_DISTANCES = (0, 5, 11, 18, 26, 35, 46, 60, 76, 95, 120, 150, 180)
"""How far from its point a name is tried, in points beyond the nearest place."""

_LEADER = 10
"""From so many points on, a line leads from the point to its name."""


_OFFSET: dict[str, Any] = {"xytext": (0, 0), "textcoords": "offset points", "annotation_clip": False}
"""How a text is placed: in points from its point."""


class _Place(NamedTuple):
    """Where a name is written: its distance from its point, right and up, in points, and its alignment."""

    x: float
    y: float
    horizontal: str
    vertical: str
    far: bool = False
    """Whether a line leads to it."""


def _label_points(canvas: "Canvas", axes: "Axes", figure: Figure) -> bool:
    """Write the name of every series beside its points, those in the thickest crowd first.

    Returns:
        Whether there was room; if not, no name is written, and the series need a legend.
    """
    canvas.draw_without_rendering()  # positions are known once the figure was laid out
    canvas.set_layout_engine("none")
    named = [(name, mark) for name, marks in figure.series.items() for mark in marks]
    points = {mark: _point_box(axes, mark) for _, mark in named}
    bars = [_bar_box(axes, mark) for _, mark in named if mark.margin]
    names: list[_Box] = []
    leaders: list[tuple[Mark, _Place]] = []
    for name, mark in sorted(named, key=lambda item: -_count_near(points[item[1]], [*points.values()])):
        label = axes.annotate(name, (mark.x, mark.y), **_OFFSET, fontsize=_SIZE)
        lines = [box for other in leaders for box in _leader_boxes(axes, *other)]
        others = [box for box in points.values() if not _shared_area(box, points[mark])]  # under those a line may begin
        place = _free_place(axes, label, mark, [*points.values(), *bars, *names, *lines], [*others, *names])
        if place is None:
            for written in [*axes.texts]:
                written.remove()
            return False
        names.append(_text_box(label))
        leaders += [(mark, place)] if place.far else []
    for mark, place in leaders:
        _draw_leader(axes, mark, place)
    return True


def _count_near(box: _Box, others: Sequence[_Box]) -> int:
    """Return how many points lie so near to one that their names may meet."""
    left, bottom, right, top = box
    around = (left - 60, bottom - 30, right + 60, top + 30)
    return sum(_shared_area(around, other) > 0 for other in others)


def _free_place(
    axes: "Axes", label: "Text", mark: Mark, taken: Sequence[_Box], barred: Sequence[_Box]
) -> _Place | None:
    """Put a label at the first free place around its point, inside the axes.

    Args:
        axes: of the figure.
        label: the name.
        mark: its point.
        taken: what the name may not cover.
        barred: what a line to it may not cross.

    Returns:
        The place; None if there is none.
    """
    inside = _inner_box(axes)
    for place in _places(mark.size / 2 + 3):
        label.set_position((place.x, place.y))
        label.set_horizontalalignment(place.horizontal)  # type: ignore[arg-type]
        label.set_verticalalignment(place.vertical)  # type: ignore[arg-type]
        left, bottom, right, top = _text_box(label)
        box = (left - _PAD, bottom, right + _PAD, top)
        within = box[0] >= inside[0] and box[1] >= inside[1] and box[2] <= inside[2] and box[3] <= inside[3]
        if not within or any(_shared_area(box, other) for other in taken):
            continue
        if not any(_shared_area(step, other) for step in _leader_boxes(axes, mark, place) for other in barred):
            return place
    return None


def _places(start: float) -> Iterator[_Place]:
    """Yield places around a point, nearest first: right, above, below and left before what lies between."""
    turns = (0, 90, 270, 180, 45, 315, 135, 225, 22, 338, 158, 202, 67, 113, 247, 293)
    for distance in _DISTANCES:
        for turn in turns:
            x, y = math.cos(math.radians(turn)), math.sin(math.radians(turn))
            horizontal = "left" if x > 0.3 else "right" if x < -0.3 else "center"
            vertical = "bottom" if y > 0.3 else "top" if y < -0.3 else "center_baseline"
            away = start + distance
            yield _Place(x * away, y * away, horizontal, vertical, far=distance >= _LEADER)


def _draw_leader(axes: "Axes", mark: Mark, place: _Place) -> None:
    """Draw a thin line from a point's edge to its name."""
    line = {"arrowstyle": "-", "linewidth": 0.6, "color": _INK, "alpha": 0.45, "shrinkA": 0, "shrinkB": mark.size / 2}
    axes.annotate("", (mark.x, mark.y), **{**_OFFSET, "xytext": (place.x, place.y)}, arrowprops=line)


def _leader_boxes(axes: "Axes", mark: Mark, place: _Place) -> list[_Box]:
    """Return small squares along the line that leads to a name; none where it is near."""
    if not place.far:
        return []
    x, y = axes.transData.transform((mark.x, mark.y))
    scale = axes.figure.dpi / 72
    length = math.hypot(place.x, place.y)
    steps = [mark.size / 2 + 3 * step for step in range(int((length - mark.size / 2) / 3))]
    centres = [(x + place.x * s / length * scale, y + place.y * s / length * scale) for s in steps]
    return [(a - 1, b - 1, a + 1, b + 1) for a, b in centres]


def _point_box(axes: "Axes", mark: Mark) -> _Box:
    """Return the square that a point covers."""
    x, y = axes.transData.transform((mark.x, mark.y))
    half = (mark.size / 2 + 1) * axes.figure.dpi / 72
    return x - half, y - half, x + half, y + half


def _bar_box(axes: "Axes", mark: Mark) -> _Box:
    """Return the strip that a point's error bar covers."""
    below, above = mark.margin or (0.0, 0.0)
    x, bottom = axes.transData.transform((mark.x, mark.y - below))
    half = 3 * axes.figure.dpi / 72
    return x - half, bottom, x + half, axes.transData.transform((mark.x, mark.y + above))[1]


def _inner_box(axes: "Axes") -> _Box:
    """Return the rectangle between the axes, a little away from them."""
    left, bottom, right, top = axes.get_window_extent().extents
    return left + _PAD, bottom + _PAD, right, top


def _text_box(label: "Text") -> _Box:
    """Return the rectangle that a text covers."""
    left, bottom, right, top = label.get_window_extent().extents
    return left, bottom, right, top


def _shared_area(first: _Box, second: _Box) -> float:
    """Return the area that two rectangles share, in square pixels."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)
