"""Writes the scores of `beside.py` by method, task and rate, and by the rate that validation chooses, as JSON.

python -m experiments.documents.beside_table out/beside results/beside.json
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hyperadapters.methods import method_from_json
from hyperadapters.runs import RESULT, Result, read_result
from recipes import name_of


def main() -> None:
    """Write the table of the results in a folder."""
    folder, output = map(Path, sys.argv[1:])
    runs: dict[tuple[str, str, float], list[Result]] = defaultdict(list)
    for path in sorted(folder.glob(f"*/{RESULT}")):
        result = read_result(path.parent)
        method = name_of(method_from_json(result.experiment["method"]))
        runs[method, result.task, result.experiment["training"]["lr"]].append(result)
    table: dict[str, Any] = {}
    for (method, task, lr), found in sorted(runs.items()):
        scores = [100 * run.averages["test"] for run in found]
        table.setdefault(task, {}).setdefault(method, {})[f"{lr:g}"] = {
            "validation": round(100 * mean(run.averages["validation"] for run in found), 2),
            "test": round(mean(scores), 2),
            "deviation": round(stdev(scores), 2) if len(scores) > 1 else None,
            "seeds": len(scores),
            "trained": found[0].trained,
        }
    for methods in table.values():
        for rates in methods.values():
            whole = {lr: row for lr, row in rates.items() if row["seeds"] == max(r["seeds"] for r in rates.values())}
            rates["chosen"] = max(whole, key=lambda lr: whole[lr]["validation"])
    output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for task, methods in table.items():
        for method, rates in methods.items():
            print(task, method, rates["chosen"], rates[rates["chosen"]])


if __name__ == "__main__":
    main()
