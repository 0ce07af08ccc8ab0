"""Writes the score of the defaults on every set beside that of a model of the words, from a folder of results, as JSON.

python -m experiments.documents.own_check_table results/own-check.json out/own-check
"""

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from hyperadapters.methods import method_from_json
from hyperadapters.runs import RESULT, read_result
from recipes import name_of


def main() -> None:
    output, folder = map(Path, sys.argv[1:])
    found: dict[str, dict[str, list[Any]]] = {}
    for path in sorted(folder.glob(f"*/{RESULT}")):
        result = read_result(path.parent)
        name = name_of(method_from_json(result.experiment["method"]))
        set_name = Path(result.experiment["task"]["train"]).parent.name
        place = found.setdefault(f"{set_name}, {result.rows['train']} rows, {name}", {})
        for what, score in {
            "accuracy": result.metrics["test"]["accuracy"],
            "words": result.baselines["bag of words"]["test"]["accuracy"],
            "one answer": result.baselines["constant"]["test"]["accuracy"],
        }.items():
            place.setdefault(what, []).append(100 * score)
        place.setdefault("steps", []).append(result.steps)
    table = {
        place: {**{what: round(mean(values), 2) for what, values in columns.items()}, "seeds": len(columns["steps"])}
        for place, columns in sorted(found.items())
    }
    output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    behind = [place for place, row in table.items() if row["accuracy"] <= row["words"]]
    print(f"{len(table) - len(behind)} of {len(table)} ahead of the words; behind: {'; '.join(behind) or 'none'}")


if __name__ == "__main__":
    main()
