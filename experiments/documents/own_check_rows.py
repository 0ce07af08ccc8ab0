"""The table of the defaults on small files beside a model of the words, as the page of results shows it."""

from statistics import mean, stdev
from typing import Any

from hyperadapters.reports import markdown_table

METRICS = ("accuracy", "macro_f1")
"""Their mean, which chooses a run's best weights, is what is compared: where one class is frequent, accuracy alone is
highest for one answer."""
COMPARED = ("adapter", "bag of words", "constant")
"""Whose scores stand beside each other."""
Table = dict[str, dict[str, dict[str, Any]]]
"""What was found by place (`place_of`) and seed."""


def own_check_rows(table: Table) -> str:
    """Return a Markdown table of sets and sizes: the run beside the words and one answer, in means over seeds.

    Args:
        table: as `main` writes it.
    """
    rows = []
    for place, runs in sorted(table.items(), key=lambda item: _order(item[0])):
        name, count, method = place.split(", ")
        scores = {who: [mean(run[who][name] for name in METRICS) for run in runs.values()] for who in COMPARED}
        own = scores["adapter"]
        spread = f" ± {stdev(own):.1f}" if len(own) > 1 else ""
        means = {who: mean(found) for who, found in scores.items()}
        ahead = means["adapter"] - means["bag of words"]
        rows.append(
            [
                name,
                f"{int(count.removesuffix(' rows')):,}",
                method,
                f"{means['adapter']:.1f}{spread}",
                f"{means['bag of words']:.1f}",
                f"{means['constant']:.1f}",
                f"{ahead:+.1f}",
                str(len(runs)),
            ]
        )
    return markdown_table(
        ["set", "rows", "method", "defaults", "words", "one answer", "ahead of the words", "seeds"], rows, labels=3
    )


def _order(place: str) -> tuple[str, int, str]:
    """Return what places are sorted by: method, rows, set."""
    name, count, method = place.split(", ")
    return method, int(count.removesuffix(" rows")), name
