"""Drawing figures with matplotlib, into SVG, PDF and PNG files."""

import io
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hyperadapters.reports.figures import _Figure, _Mark
from hyperadapters.reports.point_labels import _label_points
from hyperadapters.reports.svg import _INK, _PAPER, _add_tips

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_COLOURS = (
    "#0072b2 #d55e00 #009e73 #cc79a7 #b8860b #56a0d8 #7f7f7f #a6761d #7570b3 #66a61e #b2182b #1b7837 #9b4fb0 #17a2a8"
).split()
_MARKERS = "osD^vP*X"
_GRID_COLOUR = "#8d8d8e"
_UNDATED: dict[str, dict[str, Any]] = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None}}
"""Settings for each format that keep date and version out of the file."""


def render_figure(figure: _Figure, *formats: str) -> dict[str, bytes]:
    """Draw a figure once and return it in several formats. The same figure gives the same bytes.

    Args:
        figure: what to draw.
        formats: of `svg`, in which hovering over a point shows its numbers, `pdf` and `png`.

    Returns:
        The content of the file of each format.
    """
    contents = {}
    with _figure_style(figure):
        canvas = _draw(figure)
        for name in formats:
            buffer = io.BytesIO()
            canvas.savefig(buffer, format=name, dpi=150, metadata=_UNDATED.get(name))
            contents[name] = buffer.getvalue()
    if "svg" in contents:
        contents["svg"] = _add_tips(contents["svg"].decode(), figure.marks).encode()
    return contents


def _figure_style(figure: _Figure) -> Any:
    """Return a context with matplotlib's settings for a figure: text stays text, and identifiers do not change."""
    import matplotlib  # noqa: PLC0415 (slow to import)

    return matplotlib.rc_context(
        {
            "text.color": _INK,
            "axes.edgecolor": _INK,
            "axes.labelcolor": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "figure.facecolor": _PAPER,
            "axes.facecolor": _PAPER,
            "savefig.facecolor": _PAPER,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": _GRID_COLOUR,
            "grid.alpha": 0.25,
            "font.size": 10,
            "svg.fonttype": "none",
            "svg.hashsalt": figure.name,
            "pdf.fonttype": 42,
        }
    )


def _draw(figure: _Figure) -> "Canvas":
    """Return a figure drawn on a canvas of its own."""
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    canvas = Canvas(figsize=(7.6, 4.4), layout="constrained")
    axes = canvas.add_subplot()
    numbers = itertools.count()
    for index, (name, marks) in enumerate(figure.series.items()):
        colour, marker = _COLOURS[index % len(_COLOURS)], _MARKERS[index // len(_COLOURS) % len(_MARKERS)]
        if figure.joined:
            _draw_line(axes, name, marks, colour)
        for mark in marks:
            _draw_point(axes, mark, next(numbers), colour, marker, error_bar=not figure.joined)
    _finish_axes(axes, figure)
    if figure.joined:
        columns = 1 + len(figure.series) // 22
        canvas.legend(loc="outside right upper", frameon=False, fontsize=9, ncols=columns)
    else:
        _label_points(canvas, axes, figure)
    return canvas


def _draw_line(axes: "Axes", name: str, marks: Sequence[_Mark], colour: str) -> None:
    """Draw a line through points, with a band where they have margins."""
    x, y = [mark.x for mark in marks], [mark.y for mark in marks]
    axes.plot(x, y, color=colour, linewidth=1.6, marker="o", markersize=4, label=name)
    margins = [mark.margin or (0.0, 0.0) for mark in marks]
    if any(mark.margin for mark in marks):
        low = [mark.y - below for mark, (below, _) in zip(marks, margins, strict=True)]
        high = [mark.y + above for mark, (_, above) in zip(marks, margins, strict=True)]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _draw_point(axes: "Axes", mark: _Mark, number: int, colour: str, marker: str, *, error_bar: bool) -> None:
    """Draw a point under an identifier by which `add_tips` finds it in the SVG."""
    if error_bar and mark.margin:
        below, above = mark.margin
        axes.errorbar(mark.x, mark.y, yerr=[[below], [above]], color=colour, alpha=0.6, linewidth=1, capsize=2)
    (line,) = axes.plot(mark.x, mark.y, marker, color=colour, markersize=mark.size, alpha=0.7, clip_on=False)
    line.set_gid(f"mark-{number}")


def _finish_axes(axes: "Axes", figure: _Figure) -> None:
    """Set scales, margins and titles."""
    from matplotlib.ticker import LogLocator  # noqa: PLC0415

    if figure.log_x:
        axes.set_xscale("log")
        values = [mark.x for mark in figure.marks]
        wide = max(values) > 50 * min(values)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.margins(0.06 if figure.joined else 0.14)
    axes.set_xlabel(figure.x_title)
    axes.set_ylabel(figure.y_title)
