"""Writes how the runs of races stood, by task, method and rate, and prints it as a table.

python -m experiments.documents.races_table out/encoder-evidence results/encoder-races.json
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from hyperadapters._utils import mean_score, read_json
from hyperadapters.methods import method_from_json
from hyperadapters.reports import markdown_table
from hyperadapters.runs import EXPERIMENT, RESULT, STANDINGS, label_of, read_result
from own_sets import set_of

SHARES = ("0.2", "0.4")
Races = dict[str, dict[str, dict[str, dict[str, float]]]]
"""By task, method and rate: the best validation score up to a share of the steps, for each share."""


def stood(folder: Path, experiment: dict[str, Any]) -> dict[str, float]:
    """Return how a run stood at each share that it came to: where it was paused, else by its evaluations."""
    known = read_json(folder / STANDINGS) if (folder / STANDINGS).exists() else {}
    found = {share: known[share]["score"] for share in SHARES if share in known}
    if (folder / RESULT).exists():
        result = read_result(folder)
        for share in SHARES:
            last = float(share) * experiment["training"]["steps"]
            until = [entry for entry in result.history if entry["step"] <= last]
            names = result.metrics["validation"]
            best = max(mean_score({name: entry[name] for name in names}) for entry in until)
            found.setdefault(share, best)
    return found


def summarize(folder: Path) -> Races:
    """Return the races of a folder's runs with the lowest seed."""
    experiments = {path.parent: read_json(path) for path in sorted(folder.glob(f"*/{EXPERIMENT}"))}
    seed = min(one["training"]["seed"] for one in experiments.values())
    races: Races = defaultdict(lambda: defaultdict(dict))
    for place, one in experiments.items():
        if one["training"]["seed"] == seed and (found := stood(place, one)):
            label = label_of(method_from_json(one["method"]))
            races[set_of(one["task"])][label][f"{one['training']['lr']:g}"] = found
    return races


def races_table(races: Races) -> str:
    """Return the table in Markdown: scores after each share of the steps, in percent."""
    rows = [
        [task, method, rate, *(f"{100 * found[share]:.1f}" if share in found else "–" for share in SHARES)]
        for task, methods in races.items()
        for method, rates in methods.items()
        for rate, found in sorted(rates.items(), key=lambda item: float(item[0]))
    ]
    return markdown_table(["task", "method", "rate", "after 20 %", "after 40 %"], rows)


def main() -> None:
    races = summarize(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(json.dumps(races, indent=1) + "\n", encoding="utf-8")
    print(races_table(races))


if __name__ == "__main__":
    main()
