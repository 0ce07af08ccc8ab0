"""Writes the learning rate of each method that did best on validation, from a folder of results, as JSON.

python -m experiments.documents.choose_rates results/evidence-rates results/evidence-rates.json
"""

import json
import sys
from pathlib import Path

from hyperadapters.methods import method_from_json
from hyperadapters.runs import RESULT, read_result
from recipes import name_of


def main() -> None:
    folder, output = map(Path, sys.argv[1:])
    scores: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob(f"*/{RESULT}")):
        result = read_result(path.parent)
        name = name_of(method_from_json(result.experiment["method"]))
        rate = f"{result.experiment['training']['lr']:g}"
        scores.setdefault(name, {})[rate] = round(100 * result.averages["validation"], 4)
    chosen = {name: float(max(by_rate, key=lambda rate: by_rate[rate])) for name, by_rate in scores.items()}
    output.write_text(json.dumps({"validation": scores, "chosen": chosen}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(chosen, indent=1))


if __name__ == "__main__":
    main()
