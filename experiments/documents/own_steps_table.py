"""Writes each run of `own_steps.py` with its score, the words' and its learning curve, as JSON.

python -m experiments.documents.own_steps_table out/own-steps results/own-steps.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from hyperadapters.methods import method_from_json
from hyperadapters.runs import RESULT, Result, read_result
from own_sets import set_of
from recipes import name_of


def row_of(result: Result) -> dict[str, Any]:
    """Return what the table says of a run."""
    training = result.experiment["training"]
    return {
        "set": set_of(result.experiment["task"]),
        "rows": result.experiment["text"]["train_rows"],
        "method": name_of(method_from_json(result.experiment["method"])),
        "lr": training["lr"],
        **({"warm-up": training["warmup_steps"]} if training["warmup_steps"] else {}),
        "batch": training["batch_size"],
        "planned": training["steps"],
        "steps": result.steps,
        "accuracy": round(100 * result.metrics["test"]["accuracy"], 2),
        "words": round(100 * result.baselines["bag of words"]["test"]["accuracy"], 2),
        "curve": [[each["step"], round(each["loss"], 3), round(each["accuracy"], 4)] for each in result.history],
    }


def main() -> None:
    """Add the results in some folders to a table, whose file is the last argument."""
    *folders, output = map(Path, sys.argv[1:])
    known = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else []
    rows = [row_of(read_result(path.parent)) for folder in folders for path in folder.glob(f"*/{RESULT}")]
    rows += [row for row in known if row not in rows]
    rows.sort(key=lambda row: (row["method"], row["set"], row["rows"], row["planned"], row["lr"]))
    output.write_text("[\n" + ",\n".join(f" {json.dumps(row)}" for row in rows) + "\n]\n", encoding="utf-8")
    for row in rows:
        print({name: value for name, value in row.items() if name != "curve"})


if __name__ == "__main__":
    main()
