"""The table and the figure of the defaults on small files beside a model of the words, as the page has them."""

from statistics import mean, stdev
from typing import Any

from hyperadapters.reports import Figure, Mark, markdown_table

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


def own_check_figure(table: Table, method: str) -> Figure:
    """Return how far a method is ahead of the words against the training rows, in means over seeds, a line a set.

    Args:
        table: as `main` writes it.
        method: which of its methods.
    """
    series: dict[str, list[Mark]] = {}
    for place, runs in sorted(table.items(), key=lambda item: _order(item[0])):
        name, count, own = place.split(", ")
        if own == method:
            number = int(count.removesuffix(" rows"))
            ahead = mean(run["adapter"][one] - run["bag of words"][one] for run in runs.values() for one in METRICS)
            tip = f"{name}, {number:,} rows\n{ahead:+.1f} points, seeds {len(runs)}"
            series.setdefault(name, []).append(Mark(number, ahead, tip))
    title = f"{method} with the defaults against a model of the words"
    axes = {"x_title": "training rows", "y_title": "points ahead of the words"}
    return Figure(title, dict(sorted(series.items())), **axes, log_x=True)


def _order(place: str) -> tuple[str, int, str]:
    """Return what places are sorted by: method, rows, set."""
    name, count, method = place.split(", ")
    return method, int(count.removesuffix(" rows")), name
