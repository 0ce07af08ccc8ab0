"""Prints the table of docs/descriptions.md.

python -m experiments.documents.from_descriptions_table results/from-descriptions.json
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hyperadapters._utils import read_json

FORM = "described/both-have-"
"""How the tasks begin whose form no training task has."""
WHO = ("described", "nearest", "mean", "shuffled")


def shown(values: Sequence[float]) -> str:
    """Return a mean over seeds, with the standard deviation where there are several."""
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def by_seed(runs: Mapping[str, Any], who: str, *, form: bool) -> list[float]:
    """Return for each seed the mean accuracy over the held-out tasks of one kind."""
    return [
        mean(scores[who] for name, scores in run["held out"].items() if name.startswith(FORM) == form)
        for run in runs.values()
    ]


def table(report: Mapping[str, Any]) -> str:
    """Return the table in Markdown."""
    lines = [
        "| read from | held out by | its own | nearest | mean | another's | seeds |",
        "|" + ":--|" * 2 + "--:|" * 5,
    ]
    for source, runs in report.items():
        for part, form in (("attribute", False), ("form", True)):
            scores = [shown(by_seed(runs, who, form=form)) for who in WHO]
            lines.append(f"| {source} | {part} | {' | '.join(scores)} | {len(runs)} |")
        few = [run["32 rows"] for run in runs.values() if "32 rows" in run]
        trained = [mean(run["training tasks"].values()) for run in runs.values()]
        lines.append(f"\n{source}: {shown(trained)} on training tasks; after 32 rows ")
        lines[-1] += ", ".join(
            f"{shown([mean(scores[start] for scores in run.values()) for run in few])} from {start}"
            for start in ("described", "mean")
            if few
        )
        lines[-1] += ".\n"
    return "\n".join(lines)


def main() -> None:
    print(table(read_json(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
