"""Joins the results of a folder in one JSON Lines file for `hyperadapters report`, without this machine's paths.

    python -m experiments.documents.join_results results/evidence results/evidence.jsonl [the backbone's name]

A backbone that was given as a folder needs a name that others know it by. Histories are left out.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hyperadapters.reports import read_results
from hyperadapters.runs import Result

PATHS = ("data", "train", "validation", "test")


def without_paths(result: Result, backbone: str) -> dict[str, Any]:
    """Return a result as JSON, with the last part of every path and without its history.

    Raises:
        SystemExit: the run's backbone is a folder and `backbone` is empty.
    """
    values = {**asdict(result), "history": []}
    experiment = values["experiment"]
    if Path(experiment["backbone"]).is_absolute():
        if not backbone:
            raise SystemExit(f"{experiment['backbone']} is a folder of this machine: give the backbone's name.")
        experiment["backbone"] = backbone
    for key in PATHS:
        if key in experiment["task"]:
            experiment["task"][key] = Path(experiment["task"][key]).name
    if experiment["start"]:
        experiment["start"]["adapter"] = Path(experiment["start"]["adapter"]).name
    return values


def main() -> None:
    folder, output = map(Path, sys.argv[1:3])
    results, problems = read_results(folder)
    lines = [json.dumps(without_paths(result, "".join(sys.argv[3:]))) for result in results.values()]
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} runs", *problems, sep="\n")


if __name__ == "__main__":
    main()
