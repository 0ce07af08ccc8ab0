"""One self-contained HTML page of tables and figures: inline style, script and SVG; nothing is fetched."""

import re
from collections.abc import Mapping, Sequence
from html import escape

from hyperadapters._utils import numbered, occurrences, slug
from hyperadapters.reports.figures import Figure, inline
from hyperadapters.reports.markup import Grid, Section

STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--back:#fff;--soft:#5a5a5a;--rule:#ddd;--head:#f4f4f5;--link:#0060a0}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--back:#17181a;--soft:#a8a8a8;--rule:#3a3b3e;--head:#232427;
--link:#7cc0ff}}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;max-width:1240px;margin:0 auto;padding:1rem 1rem 4rem;
color:var(--ink);background:var(--back)}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin:2.2rem 0 .6rem;scroll-margin-top:1rem}
nav ul{columns:20rem;padding-left:1.2rem;margin:.5rem 0}a{color:var(--link)}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.4rem 0 .8rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:right;white-space:nowrap}td{border-top:1px solid var(--rule)}
.name{text-align:left}td.name:first-child,th.name:first-child{position:sticky;left:0;background:var(--back)}
thead th,thead th.name:first-child{background:var(--head);border-bottom:2px solid var(--soft)}
th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid var(--link)}
th button::after{content:"\\2195";opacity:.35;padding-left:.3em}
th[aria-sort=ascending] button::after{content:"\\2191";opacity:1}
th[aria-sort=descending] button::after{content:"\\2193";opacity:1}
.below td{color:var(--soft);border-top:0;padding-top:0;font-size:.9em}.below td.name{padding-left:1.8rem}
ul.notes{color:var(--soft);max-width:64rem;padding-left:1.2rem;margin:.4rem 0 1rem}
.figures{display:flex;flex-wrap:wrap;gap:1.5rem}figure{margin:0;flex:1 1 34rem;max-width:46rem;min-width:0}
figcaption{color:var(--soft);font-size:.93em}svg{width:100%;height:auto;display:block}
[data-tip]{cursor:pointer;outline:none}[data-tip]:hover,[data-tip]:focus{filter:brightness(1.25) drop-shadow(0 0 3px)}
#tip{position:fixed;display:none;background:var(--ink);color:var(--back);padding:.35rem .6rem;border-radius:4px;
font-size:13px;white-space:pre-line;max-width:min(26rem,92vw);pointer-events:none;z-index:2}
@media(max-width:40rem){.name{white-space:normal;min-width:7rem;max-width:9rem}.below td.name{padding-left:1rem}}
@media print{nav,th button::after{display:none}}
"""

SCRIPT = """
function value(body, column) {
  var cell = body.rows[0].cells[column];
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
}
document.querySelectorAll('th button').forEach(function (button) {
  button.addEventListener('click', function () {
    var head = button.parentNode, table = head.closest('table'), bodies = Array.from(table.tBodies);
    var numbers = bodies.some(function (body) { return typeof value(body, head.cellIndex) === 'number'; });
    var before = head.getAttribute('aria-sort');
    var up = before ? before === 'descending' : !numbers;
    bodies.sort(function (a, b) {
      var x = value(a, head.cellIndex), y = value(b, head.cellIndex);
      if (typeof x !== typeof y) return typeof x === 'number' ? -1 : 1;
      var order = x < y ? -1 : x > y ? 1 : 0;
      return up ? order : -order;
    });
    table.querySelectorAll('th').forEach(function (other) { other.removeAttribute('aria-sort'); });
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    bodies.forEach(function (body) { table.appendChild(body); });
  });
});
var tip = document.getElementById('tip');
function show(mark, x, y) {
  tip.textContent = mark.dataset.tip; tip.style.display = 'block';
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8)) + 'px';
  tip.style.top = (y + 14 + tip.offsetHeight > innerHeight ? y - 10 - tip.offsetHeight : y + 14) + 'px';
}
function hide() { tip.style.display = 'none'; }
document.querySelectorAll('[data-tip]').forEach(function (mark) {
  var title = mark.querySelector('title');
  if (title) title.remove();
  mark.addEventListener('mousemove', function (event) { show(mark, event.clientX, event.clientY); });
  mark.addEventListener('focus', function () {
    var place = mark.getBoundingClientRect(); show(mark, place.right, place.bottom);
  });
  mark.addEventListener('mouseleave', hide); mark.addEventListener('blur', hide);
});
"""


def page(title: str, sections: Sequence[Section], drawings: Mapping[str, str]) -> str:
    """The whole page: a table of contents, then every section.

    Args:
        title: of the page.
        sections: what stands in it.
        drawings: every figure's SVG by the figure's name.
    """
    places = anchors(sections)
    body = "".join(in_html(section, place, drawings) for section, place in zip(sections, places, strict=True))
    contents = "".join(
        f'<li><a href="#{place}">{escape(section.title)}</a></li>'
        for section, place in zip(sections, places, strict=True)
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1><nav><ul>{contents}</ul></nav>{body}"
        f'<div id="tip" role="status"></div><script>{SCRIPT}</script></body></html>\n'
    )


def anchors(sections: Sequence[Section]) -> list[str]:
    """The sections' identifiers."""
    names = [f"s-{slug(section.title)}" for section in sections]
    return [numbered(name, number) for name, number in zip(names, occurrences(names), strict=True)]


def in_html(section: Section, place: str, drawings: Mapping[str, str]) -> str:
    """A section, whose identifier is its place."""
    notes = "".join(f"<li>{escape(text)}</li>" for text in section.notes)
    figures = "".join(framed(figure, inline(drawings[figure.name], figure.name)) for figure in section.figures)
    return "".join(
        [
            f'<section><h2 id="{place}">{escape(section.title)}</h2>',
            *map(table, section.grids),
            f'<ul class="notes">{notes}</ul>' if notes else "",
            f'<div class="figures">{figures}</div>' if figures else "",
            "</section>",
        ]
    )


def framed(figure: Figure, drawing: str) -> str:
    """A figure with its caption."""
    caption = f"<b>{escape(figure.title)}.</b> {escape(figure.caption)}"
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def table(grid: Grid) -> str:
    """A table that a click on a heading sorts; rows of a group stay together."""
    head = "".join(
        f'<th scope="col"{named(number, grid)}><button type="button">{escape(column)}</button></th>'
        for number, column in enumerate(grid.columns)
    )
    bodies = "".join(f"<tbody>{''.join(row(cells, place, grid) for place, cells in enumerate(group))}</tbody>"
                     for group in grid.groups)  # fmt: skip
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>{bodies}</table></div>'


def row(cells: Sequence[str], place: int, grid: Grid) -> str:
    """A row; all but the first of a group are set smaller."""
    inner = "".join(
        f"<td{named(number, grid) or valued(cell)}>{escape(cell)}</td>" for number, cell in enumerate(cells)
    )
    below = ' class="below"' if place else ""
    return f"<tr{below}>{inner}</tr>"


NUMBER = re.compile(r"([+-]?\d[\d,]*(?:\.\d+)?)(?: (kB|MB|GB))?")

UNITS = {None: 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def valued(cell: str) -> str:
    """What a cell is sorted by: the number that it begins with, in its unit."""
    found = NUMBER.match(cell)
    return f' data-value="{float(found[1].replace(",", "")) * UNITS[found[2]]:.12g}"' if found else ""


def named(number: int, grid: Grid) -> str:
    """The class of a column of names."""
    return ' class="name"' if number < grid.labels else ""
