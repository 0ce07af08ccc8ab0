"""Figures as data, and their drawing: one way for the page (with hover), for files beside Markdown, and for LaTeX."""

import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from hyperadapters._utils import numbered, slug

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.text import Text


COLOURS = (
    "#0072b2 #d55e00 #009e73 #cc79a7 #b8860b #56a0d8 #7f7f7f #a6761d #7570b3 #66a61e #b2182b #1b7837 #9b4fb0 #17a2a8"
).split()

MARKERS = "osD^vP*X"

INK, PAPER, LINES = "#1b1b1c", "#fffffe", "#8d8d8e"
"""Colours of text, background and grid. Nothing else has them, so that a page can replace them by its own."""


@dataclass(frozen=True)
class Mark:
    """A point of a figure."""

    x: float
    y: float
    tip: str
    """What hovering shows, line by line."""
    size: float = 7.0
    """Diameter, in points."""
    reach: tuple[float, float] | None = None
    """How far the error bar, or the band of a line, reaches below and above."""


@dataclass(frozen=True)
class Figure:
    """What a figure shows: points by series, joined with a legend or apart with their series' name beside them."""

    title: str
    series: Mapping[str, Sequence[Mark]]
    x_title: str
    y_title: str
    log_x: bool = False
    joined: bool = True
    caption: str = ""
    number: int = 1
    """Counts the figures of one name, which may have different titles."""

    @property
    def name(self) -> str:
        """For file names and identifiers."""
        return numbered(slug(self.title.replace("++", "-pp")), self.number)

    @property
    def marks(self) -> list[Mark]:
        """All points, series by series."""
        return [mark for marks in self.series.values() for mark in marks]


def rendered(figure: Figure, *endings: str) -> dict[str, bytes]:
    """The figure as files of these kinds: svg (hovering shows the points' numbers), pdf, png.

    The same figure gives the same bytes.
    """
    found = {}
    with style(figure):
        canvas = drawn(figure)
        for ending in endings:
            written = io.BytesIO()
            canvas.savefig(written, format=ending, dpi=150, metadata=UNDATED.get(ending))
            found[ending] = written.getvalue()
    if "svg" in found:
        found["svg"] = with_tips(found["svg"].decode(), figure.marks).encode()
    return found


UNDATED: dict[str, dict[str, Any]] = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}}


def with_tips(drawing: str, marks: Sequence[Mark]) -> str:
    """An SVG document in which every point has a title and the attribute `data-tip`."""
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    for number, mark in enumerate(marks):
        tip = escape(mark.tip, quote=True)
        about = f'tabindex="0" role="img" aria-label="{tip}" data-tip="{tip}"'
        text = text.replace(f'<g id="mark-{number}">', f'<g id="mark-{number}" {about}><title>{tip}</title>')
    return text


def inline(drawing: str, name: str) -> str:
    """An SVG document as an element of a page: identifiers of its own, the page's colours for text and background."""
    text = drawing[drawing.index("<svg") :]
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    return text.replace(INK, "currentColor").replace(PAPER, "none")


def style(figure: Figure) -> Any:
    """Matplotlib's settings for a figure: text stays text, and the same figure gives the same bytes."""
    import matplotlib  # noqa: PLC0415 (slow to import)

    return matplotlib.rc_context(
        {
            "text.color": INK,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "figure.facecolor": PAPER,
            "axes.facecolor": PAPER,
            "savefig.facecolor": PAPER,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": LINES,
            "grid.alpha": 0.25,
            "font.size": 10,
            "svg.fonttype": "none",
            "svg.hashsalt": figure.name,
            "pdf.fonttype": 42,
        }
    )


def drawn(figure: Figure) -> "Canvas":
    """The figure, drawn."""
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    canvas = Canvas(figsize=(7.6, 4.4), layout="constrained")
    axes = canvas.add_subplot()
    numbers = itertools.count()
    for place, (name, marks) in enumerate(figure.series.items()):
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place // len(COLOURS) % len(MARKERS)]
        if figure.joined:
            join(axes, name, marks, colour)
        for mark in marks:
            point(axes, mark, next(numbers), colour, marker, bar=not figure.joined)
    finish(axes, figure)
    if figure.joined:
        columns = 1 + len(figure.series) // 22
        canvas.legend(loc="outside right upper", frameon=False, fontsize=9, ncols=columns)
    else:
        name_points(canvas, axes, figure)
    return canvas


def join(axes: "Axes", name: str, marks: Sequence[Mark], colour: str) -> None:
    """A line through points, with a band where they have one."""
    x, y = [mark.x for mark in marks], [mark.y for mark in marks]
    axes.plot(x, y, color=colour, linewidth=1.6, marker="o", markersize=4, label=name)
    reach = [mark.reach or (0.0, 0.0) for mark in marks]
    if any(mark.reach for mark in marks):
        low = [mark.y - below for mark, (below, _) in zip(marks, reach, strict=True)]
        high = [mark.y + above for mark, (_, above) in zip(marks, reach, strict=True)]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def point(axes: "Axes", mark: Mark, number: int, colour: str, marker: str, *, bar: bool) -> None:
    """A point that can be found again in the SVG, with its error bar."""
    if bar and mark.reach:
        below, above = mark.reach
        axes.errorbar(mark.x, mark.y, yerr=[[below], [above]], color=colour, alpha=0.6, linewidth=1, capsize=2)
    (line,) = axes.plot(mark.x, mark.y, marker, color=colour, markersize=mark.size, alpha=0.7, clip_on=False)
    line.set_gid(f"mark-{number}")


def finish(axes: "Axes", figure: Figure) -> None:
    """Scales, margins and titles."""
    from matplotlib.ticker import LogLocator  # noqa: PLC0415

    if figure.log_x:
        axes.set_xscale("log")
        places = [mark.x for mark in figure.marks]
        wide = max(places) > 50 * min(places)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.margins(0.06 if figure.joined else 0.14)
    axes.set_xlabel(figure.x_title)
    axes.set_ylabel(figure.y_title)


def name_points(canvas: "Canvas", axes: "Axes", figure: Figure) -> None:
    """Write every series' name beside its points, where it covers no other name and no point."""
    canvas.draw_without_rendering()  # places are known once it was laid out
    canvas.set_layout_engine("none")
    taken = [around(axes, mark) for mark in figure.marks]
    for name, marks in figure.series.items():
        for mark in marks:
            taken.append(box_of(place_name(axes, name, mark, taken)))


Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in pixels."""


def place_name(axes: "Axes", name: str, mark: Mark, taken: Sequence[Box]) -> "Text":
    """Write a name at the first free place around its point, else where it covers least."""
    inside = axes.get_figure(root=True).bbox.extents  # type: ignore[union-attr]
    tried: list[tuple[float, tuple[float, float, str, str]]] = []
    label = axes.annotate(name, (mark.x, mark.y), xytext=(0, 0), textcoords="offset points", fontsize=9)
    for offset in offsets(mark.size / 2 + 3):
        move(label, offset)
        box = box_of(label)
        outside = area(box) - shared(box, tuple(inside))
        tried.append((sum(shared(box, other) for other in taken) + 4 * outside, offset))
        if not tried[-1][0]:
            return label
    move(label, min(tried)[1])
    return label


def move(label: "Text", offset: tuple[float, float, str, str]) -> None:
    """Put a label so far from its point."""
    x, y, horizontal, vertical = offset
    label.set_position((x, y))
    label.set_horizontalalignment(horizontal)  # type: ignore[arg-type]
    label.set_verticalalignment(vertical)  # type: ignore[arg-type]


def offsets(start: float) -> Iterator[tuple[float, float, str, str]]:
    """Places around a point, nearest first."""
    for away in (start, start + 9, start + 20, start + 32):
        yield 0, away, "center", "bottom"
        yield 0, -away, "center", "top"
        yield away, 0, "left", "center"
        yield -away, 0, "right", "center"
        for x, y in itertools.product((1, -1), (1, -1)):
            yield x * away * 0.7, y * away * 0.7, "left" if x > 0 else "right", "bottom" if y > 0 else "top"


def around(axes: "Axes", mark: Mark) -> Box:
    """The square that a point covers."""
    x, y = axes.transData.transform((mark.x, mark.y))
    half = mark.size / 2 * axes.figure.dpi / 72
    return x - half, y - half, x + half, y + half


def box_of(label: "Text") -> Box:
    """The rectangle that a text covers."""
    left, bottom, right, top = label.get_window_extent().extents
    return left, bottom, right, top


def area(box: Box) -> float:
    """Of a rectangle."""
    return (box[2] - box[0]) * (box[3] - box[1])


def shared(first: Box, second: Box) -> float:
    """The area that two rectangles share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)
