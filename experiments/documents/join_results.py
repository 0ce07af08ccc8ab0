"""Joins the results of a folder in one JSON Lines file for `hyperadapters report`, without this machine's paths.

    python -m experiments.documents.join_results results/evidence results/evidence.jsonl [the backbone's name]

A backbone that was given as a folder needs a name that others know it by. Runs that the file has and the folder lacks
stay in it, so a grid can be made in several parts.
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
    """Return a result as JSON, with the last part of every path.

    Raises:
        SystemExit: the run's backbone is a folder and `backbone` is empty.
    """
    values = asdict(result)
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
    found = [without_paths(result, "".join(sys.argv[3:])) for result in results.values()]
    known = map(json.loads, output.read_text(encoding="utf-8").splitlines() if output.exists() else ())
    joined = {json.dumps(values["experiment"], sort_keys=True): values for values in (*known, *found)}
    output.write_text("".join(f"{json.dumps(values)}\n" for values in joined.values()), encoding="utf-8")
    print(f"{len(joined)} runs, {len(found)} of {folder}", *problems, sep="\n")


if __name__ == "__main__":
    main()
