"""Writes each run of `own_steps.py` with its score, the words' and its learning curve, as JSON.

python -m experiments.documents.own_steps_table out/own-steps results/own-steps.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from hyperadapters.runs import RESULT, Result, read_result


def row_of(result: Result) -> dict[str, Any]:
    """Return what the table says of a run."""
    training = result.experiment["training"]
    return {
        "set": Path(result.experiment["task"]["train"]).parent.name,
        "lr": training["lr"],
        "planned": training["steps"] or max(375, training["min_steps"]),
        "steps": result.steps,
        "accuracy": round(100 * result.metrics["test"]["accuracy"], 2),
        "words": round(100 * result.baselines["bag of words"]["test"]["accuracy"], 2),
        "curve": [[each["step"], round(each["loss"], 3), round(each["accuracy"], 4)] for each in result.history],
    }


def main() -> None:
    """Write the table of the results in some folders; the last argument is the file."""
    *folders, output = map(Path, sys.argv[1:])
    rows = [row_of(read_result(path.parent)) for folder in folders for path in folder.glob(f"*/{RESULT}")]
    rows.sort(key=lambda row: (row["set"], row["planned"], row["lr"]))
    output.write_text("[\n" + ",\n".join(f" {json.dumps(row)}" for row in rows) + "\n]\n", encoding="utf-8")
    for row in rows:
        print({name: value for name, value in row.items() if name != "curve"})


if __name__ == "__main__":
    main()
