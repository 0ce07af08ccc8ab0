"""Drawing figures with matplotlib, into SVG, PDF and PNG files."""

import io
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hyperadapters._utils import check_extra
from hyperadapters.reports.figures import Figure, Mark
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

_WIDTH, _HEIGHT = 5.6, 4.0
"""Of a figure, in inches; a legend below the axes makes it higher."""


def render_figure(figure: Figure, *formats: str) -> dict[str, bytes]:
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


def _figure_style(figure: Figure) -> Any:
    """Return a context with matplotlib's settings for a figure: text stays text, and identifiers do not change."""
    check_extra("reports", "figures")
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


def _draw(figure: Figure) -> "Canvas":
    """Return a figure drawn on a canvas of its own.

    It is as wide as the text of a page, so that it is not shrunk in print; at a width of 400 pixels a letter has as
    many pixels as it has points.
    """
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    canvas = Canvas(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = canvas.add_subplot()
    numbers = itertools.count()
    for index, (name, marks) in enumerate(figure.series.items()):
        colour, marker = _COLOURS[index % len(_COLOURS)], _MARKERS[index // len(_COLOURS) % len(_MARKERS)]
        if figure.joined:
            _draw_line(axes, name, marks, colour)
        for number, mark in enumerate(marks):
            label = name if not (figure.joined or number) else ""
            _draw_point(axes, mark, next(numbers), colour, marker, label, error_bar=not figure.joined)
    _finish_axes(axes, figure)
    if figure.sizes:
        _draw_sizes(canvas, figure)
    if figure.joined or not _label_points(canvas, axes, figure):
        _draw_legend(canvas, axes, figure)
    return canvas


def _draw_legend(canvas: "Canvas", axes: "Axes", figure: Figure) -> None:
    """Name the series below the axes, and make the figure higher by as much."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 (slow to import)

    longest = max(map(len, figure.series))
    columns = max(1, min(4, 80 // (longest + 5)))
    canvas.set_layout_engine("constrained")
    canvas.set_size_inches(_WIDTH, canvas.get_size_inches()[1] + 0.2 * -(-len(figure.series) // columns))
    handles, names = axes.get_legend_handles_labels()
    legend = canvas.legend(handles, names, loc="outside lower left", frameon=False, fontsize=9, ncols=columns)
    for handle in legend.legend_handles:
        if isinstance(handle, Line2D):
            handle.set_markersize(6)


def _draw_sizes(canvas: "Canvas", figure: Figure) -> None:
    """Say above the axes what the size of circles stands for."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 (slow to import)

    plain: dict[str, Any] = {"marker": "o", "linestyle": "none", "markerfacecolor": "none", "markeredgecolor": _INK}
    blank = Line2D([], [], linestyle="none", label=figure.sizes_title)
    circles = [Line2D([], [], markersize=diameter, label=text, **plain) for diameter, text in figure.sizes]
    room = max(diameter for diameter, _ in figure.sizes) / 9  # of the largest circle, in letters
    spacing: dict[str, Any] = {
        "handlelength": room,
        "handleheight": room,
        "handletextpad": 0.5,
        "columnspacing": 1.0,
        "borderpad": 0.6,
    }
    places: dict[str, Any] = {"loc": "outside upper left", "ncols": 1 + len(circles)}
    canvas.legend(handles=[blank, *circles], frameon=False, fontsize=9, **places, **spacing)


def _draw_line(axes: "Axes", name: str, marks: Sequence[Mark], colour: str) -> None:
    """Draw a line through points, with a band where they have margins."""
    x, y = [mark.x for mark in marks], [mark.y for mark in marks]
    axes.plot(x, y, color=colour, linewidth=1.6, marker="o", markersize=4, label=name)
    margins = [mark.margin or (0.0, 0.0) for mark in marks]
    if any(mark.margin for mark in marks):
        low = [mark.y - below for mark, (below, _) in zip(marks, margins, strict=True)]
        high = [mark.y + above for mark, (_, above) in zip(marks, margins, strict=True)]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _draw_point(
    axes: "Axes", mark: Mark, number: int, colour: str, marker: str, label: str, *, error_bar: bool
) -> None:
    """Draw a point under an identifier by which `add_tips` finds it in the SVG; a label, for a legend, may be empty."""
    if error_bar and mark.margin:
        below, above = mark.margin
        axes.errorbar(mark.x, mark.y, yerr=[[below], [above]], color=colour, alpha=0.6, linewidth=1, capsize=2)
    (line,) = axes.plot(
        mark.x, mark.y, marker, color=colour, markersize=mark.size, alpha=0.7, clip_on=False, label=label or None
    )
    line.set_gid(f"mark-{number}")


def _finish_axes(axes: "Axes", figure: Figure) -> None:
    """Set scales, margins and titles."""
    from matplotlib.ticker import LogLocator, MaxNLocator  # noqa: PLC0415

    if figure.log_x:
        axes.set_xscale("log")
        values = [mark.x for mark in figure.marks]
        ratio = max(values) / min(values)
        by_decade = LogLocator(subs=(1.0,) if ratio > 50 else (1.0, 2.0, 5.0))
        axes.xaxis.set_major_locator(by_decade if ratio > 4 else MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.margins(0.06 if figure.joined else 0.14)
    axes.set_xlabel(figure.x_title)
    axes.set_ylabel(figure.y_title)
