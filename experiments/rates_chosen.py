"""Of each method in a folder of results, the rate that did best on validation, as JSON.

python experiments/rates_chosen.py results/evidence-rates results/evidence-rates.json
"""

import json
import sys
from pathlib import Path

from hyperadapters.delta import Method, method_to_json
from hyperadapters.methods import METHODS, method_from_json
from hyperadapters.runs import RESULT, label_of, read_result


def name_of(method: Method) -> str:
    """The preset's name, or all fields where they are others."""
    name = label_of(method)
    return name if name in METHODS else json.dumps(method_to_json(method), sort_keys=True)


def main() -> None:
    folder, output = map(Path, sys.argv[1:])
    scores: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob(f"*/{RESULT}")):
        result = read_result(path.parent)
        name = name_of(method_from_json(result.experiment["method"]))
        rate = f"{result.experiment['training']['lr']:g}"
        scores.setdefault(name, {})[rate] = round(100 * result.averages["validation"], 4)
    chosen = {name: float(max(found, key=lambda rate: found[rate])) for name, found in scores.items()}
    output.write_text(json.dumps({"validation": scores, "chosen": chosen}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(chosen, indent=1))


if __name__ == "__main__":
    main()
