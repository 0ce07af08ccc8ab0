"""Writes what the searches of `own_rates.py` found, by backbone, set and method, from folders of results, as JSON.

What the table holds of other runs stays.

python -m experiments.documents.own_rates_table results/own-rates.json out/own-rates [...]
"""

import json
import sys
from pathlib import Path
from typing import Any

from hyperadapters.methods import method_from_json
from hyperadapters.runs import RESULT, Result, read_result
from own_sets import set_of
from recipes import name_of


def place_of(result: Result) -> str:
    """Return backbone, set, rows and updates of a run, as a heading."""
    folder = result.experiment["backbone"]
    backbone = folder if folder == "embedded" else "MiniLM-L6"
    training, task = result.experiment["training"], result.experiment["task"]
    warmup = f", warm-up {training['warmup_steps']}" if training["warmup_steps"] else ""
    seed = f", seed {training['seed']}"
    steps = round(result.tokens and (training["steps"] or result.history[-1]["step"]))
    updates = f"{steps} steps of {training['batch_size']}{warmup}{seed}"
    return f"{backbone}, {set_of(task)}, {result.rows['train']} rows, {updates}"


def row_of(result: Result) -> dict[str, Any]:
    """Return what was found at one rate, in percent."""
    scores = {split: round(100 * found["accuracy"], 2) for split, found in result.metrics.items()}
    return {**scores, "best_step": result.best_step}


def main() -> None:
    output, *folders = map(Path, sys.argv[1:])
    known = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    found: dict[str, dict[str, dict[str, Any]]] = known
    for folder in folders:
        for path in sorted(folder.glob(f"*/{RESULT}")):
            result = read_result(path.parent)
            name = name_of(method_from_json(result.experiment["method"]))
            rates = found.setdefault(place_of(result), {}).setdefault(name, {})
            rates[f"{result.experiment['training']['lr']:g}"] = row_of(result)
    ordered = {
        place: {name: dict(sorted(rates.items(), key=lambda item: float(item[0]))) for name, rates in methods.items()}
        for place, methods in sorted(found.items())
    }
    output.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(ordered, indent=1))


if __name__ == "__main__":
    main()
