"""Objects as a notebook shows them: a small table of names and values."""

from collections.abc import Mapping
from html import escape


def html_table(title: str, rows: Mapping[str, object]) -> str:
    """Return a table in HTML with a title and a line for each name and value, all of it escaped.

    Args:
        title: what the table is of.
        rows: the values by name; numbers are written with separators, fractions with four digits.
    """
    left = 'style="text-align:left"'
    lines = [f"<tr><th {left}>{escape(str(n))}</th><td {left}>{escape(_written(v))}</td></tr>" for n, v in rows.items()]
    return f"<table><caption {left}><b>{escape(title)}</b></caption><tbody>{''.join(lines)}</tbody></table>"


def _written(value: object) -> str:
    """Return a value as the table shows it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_written(inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
