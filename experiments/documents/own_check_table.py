"""Writes the score of the defaults on every set beside that of a model of the words, from a folder of results, as JSON.

    python -m experiments.documents.own_check_table results/own-check.json out/own-check

What the table holds of other runs stays.
"""

import json
import sys
from pathlib import Path
from statistics import mean

from experiments.documents.own_check_rows import METRICS, Table
from hyperadapters.methods import method_from_json
from hyperadapters.runs import RESULT, read_result
from own_check import place_of
from own_sets import set_of
from recipes import name_of


def main() -> None:
    output, folder = map(Path, sys.argv[1:])
    table: Table = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    for path in sorted(folder.glob(f"*/{RESULT}")):
        result = read_result(path.parent)
        set_name = set_of(result.experiment["task"])
        rows = result.experiment["text"]["train_rows"]
        place = place_of(set_name, rows, name_of(method_from_json(result.experiment["method"])))
        scores = {"adapter": result.metrics["test"], **{key: found["test"] for key, found in result.baselines.items()}}
        table.setdefault(place, {})[str(result.experiment["training"]["seed"])] = {
            **{who: {name: round(100 * found[name], 2) for name in METRICS} for who, found in scores.items()},
            "steps": result.steps,
        }
    output.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n", encoding="utf-8")
    means = {
        place: [
            mean(run[who][name] for run in runs.values() for name in METRICS) for who in ("adapter", "bag of words")
        ]
        for place, runs in table.items()
    }
    for place, (own, words) in sorted(means.items()):
        print(f"{place}: {own:.1f}, words {words:.1f}, seeds {', '.join(table[place])}")
    behind = [place for place, (own, words) in means.items() if own <= words]
    print(f"{len(means) - len(behind)} of {len(means)} ahead of the words; behind: {'; '.join(behind) or 'none'}")


if __name__ == "__main__":
    main()
