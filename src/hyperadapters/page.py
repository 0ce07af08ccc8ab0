"""One self-contained HTML page of tables and figures: inline style, script and SVG; nothing is fetched."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 420, 64, 48, 16, 210
COLOURS = (
    "#0072b2 #d55e00 #009e73 #cc79a7 #e69f00 #56b4e9 #444444 #a6761d #7570b3 #66a61e #b2182b #1b7837 #762a83 #999999"
).split()

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:1200px;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.5rem 0 1rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{cursor:pointer;border-bottom:2px solid #888;background:#f6f6f6}
th:focus{outline:2px solid #0072b2}.paper{color:#777}.note{color:#555;max-width:60rem}
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:#1b1b1b}
[data-tip]:hover,[data-tip]:focus{stroke:#000;stroke-width:2}
#tip{position:fixed;display:none;background:#222;color:#fff;padding:.3rem .5rem;border-radius:4px;font-size:13px;
white-space:pre;pointer-events:none}
"""

SCRIPT = """
document.querySelectorAll('th').forEach(function (head) {
  head.tabIndex = 0; head.title = 'sort';
  function sort() {
    var table = head.closest('table'), body = table.tBodies[0], up = head.dataset.up !== '1';
    var rows = Array.from(body.rows);
    function value(row) {
      var text = row.cells[head.cellIndex].textContent.replace(/,/g, ''), number = parseFloat(text);
      return isNaN(number) ? text : number;
    }
    rows.sort(function (a, b) {
      var x = value(a), y = value(b), order;
      if (typeof x !== typeof y) order = typeof x === 'number' ? -1 : 1;
      else order = x < y ? -1 : x > y ? 1 : 0;
      return up ? order : -order;
    });
    table.querySelectorAll('th').forEach(function (other) { delete other.dataset.up; });
    head.dataset.up = up ? '1' : '0';
    rows.forEach(function (row) { body.appendChild(row); });
  }
  head.addEventListener('click', sort);
  head.addEventListener('keydown', function (event) { if (event.key === 'Enter') sort(); });
});
var tip = document.getElementById('tip');
document.querySelectorAll('[data-tip]').forEach(function (mark) {
  mark.addEventListener('mousemove', function (event) {
    tip.textContent = mark.dataset.tip; tip.style.display = 'block';
    tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + 'px';
    tip.style.top = event.clientY + 14 + 'px';
  });
  mark.addEventListener('mouseleave', function () { tip.style.display = 'none'; });
});
"""


@dataclass(frozen=True)
class Mark:
    """A point of a figure."""

    x: float
    y: float
    tip: str
    radius: float = 4.0
    half: float | None = None
    """Half of the error bar."""


def document(title: str, sections: Sequence[str]) -> str:
    """The whole page."""
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f'<h1>{escape(title)}</h1>{"".join(sections)}<div id="tip"></div><script>{SCRIPT}</script></html>\n'
    )


def section(title: str, *parts: str) -> str:
    """A heading and what stands below it."""
    return f"<h2>{escape(title)}</h2>{''.join(parts)}"


def note(text: str) -> str:
    """A paragraph."""
    return f'<p class="note">{escape(text)}</p>'


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that a click on a heading sorts."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(
    series: Mapping[str, Sequence[Mark]], x_title: str, y_title: str, *, log_x: bool = False, joined: bool = True
) -> str:
    """An SVG of several series, with a legend, error bars and what hovering shows."""
    marks = [mark for found in series.values() for mark in found]
    place_x, x_ticks = axis([mark.x for mark in marks], LEFT, WIDTH - RIGHT, log=log_x)
    ends = [mark.y + side * (mark.half or 0.0) for mark in marks for side in (-1, 1)]
    place_y, y_ticks = axis(ends, HEIGHT - BOTTOM, TOP, log=False)
    parts = [grid(place_x, x_ticks, place_y, y_ticks, x_title, y_title)]
    for number, (name, found) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        if joined:
            points = " ".join(f"{place_x(mark.x):.1f},{place_y(mark.y):.1f}" for mark in found)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [drawn(mark, place_x(mark.x), place_y, colour) for mark in found]
        y = TOP + 10 + 18 * number
        parts.append(f'<circle cx="{WIDTH - RIGHT + 18}" cy="{y - 4}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 28}" y="{y}">{escape(name)}</text>')
    height = max(HEIGHT, TOP + 20 + 18 * len(series))
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">{"".join(parts)}</svg>'


def drawn(mark: Mark, x: float, place_y: Callable[[float], float], colour: str) -> str:
    """A point with its error bar."""
    y, tip = place_y(mark.y), escape(mark.tip, quote=True)
    bar = ""
    if mark.half:
        low, high = place_y(mark.y - mark.half), place_y(mark.y + mark.half)
        bar = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}"/>'
    circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{mark.radius:.1f}" fill="{colour}" fill-opacity="0.55"'
    return f'{bar}{circle} data-tip="{tip}"><title>{tip}</title></circle>'


def grid(
    place_x: Callable[[float], float],
    x_ticks: Sequence[float],
    place_y: Callable[[float], float],
    y_ticks: Sequence[float],
    x_title: str,
    y_title: str,
) -> str:
    """Lines, numbers and titles of both axes."""
    parts = []
    for tick in x_ticks:
        x = place_x(tick)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in y_ticks:
        y = place_y(tick)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_title)}</text>')
    half = HEIGHT / 2
    turned = f'x="14" y="{half:.0f}" transform="rotate(-90 14 {half:.0f})"'
    parts.append(f'<text {turned} text-anchor="middle">{escape(y_title)}</text>')
    return "".join(parts)


def axis(
    values: Sequence[float], start: float, end: float, *, log: bool
) -> tuple[Callable[[float], float], list[float]]:
    """A scale from values to places, with a margin, and its ticks."""
    scale: Callable[[float], float] = math.log10 if log else float
    low, high = min(map(scale, values)), max(map(scale, values))
    margin = 0.06 * (high - low) or 0.5
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return start + (scale(value) - low) / (high - low) * (end - start)

    if log:
        steps = (1, 2, 5) if high - low < 2 else (1,)
        ticks = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
        return place, [tick for tick in ticks if low <= scale(tick) <= high]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    return place, [round(step * k, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
