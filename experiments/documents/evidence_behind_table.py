"""Writes results/evidence-behind.json from the runs of evidence_behind.py and prints its table.

python -m experiments.documents.evidence_behind_table results/evidence-behind results/evidence-behind.json

With the name of another experiment behind them, from its runs: encoder_behind. What the file has of other runs stays.
"""

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from hyperadapters.reports import markdown_table
from hyperadapters.runs import RESULT, Experiment, read_result
from hyperadapters.sweeps import experiment_key


def summarize(folder: Path, cases: Mapping[str, Sequence[Experiment]]) -> dict[str, dict[str, Any]]:
    """Return trained parameters and the scores of the seeds for each change, of the runs that are done."""
    table = {}
    for name, runs in cases.items():
        folders = [folder / experiment_key(run) for run in runs]
        done = [read_result(place) for place in folders if (place / RESULT).exists()]
        scores = {split: [100 * result.averages[split] for result in done] for split in ("validation", "test")}
        if done:
            table[name] = {"trained": done[0].trained, **scores}
    return table


def behind_table(table: dict[str, dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    rows = [
        [name, f"{row['trained']:,}", f"{mean(row['validation']):.1f}", f"{mean(row['test']):.1f}"]
        for name, row in table.items()
    ]
    return markdown_table(["", "trained", "validation", "test"], rows)


def main() -> None:
    folder, output = map(Path, sys.argv[1:3])
    experiment = importlib.import_module(sys.argv[3] if len(sys.argv) > 3 else "evidence_behind")
    table = summarize(folder, experiment.cases())
    known = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    table = {**known, **table}
    output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(behind_table(table))


if __name__ == "__main__":
    main()
