"""Writes the validation scores of each start of the projector, by rate, from a folder of results, as JSON.

python experiments/documents/start_table.py results/hyperformer-start results/hyperformer-start.json
"""

import json
import statistics
import sys
from pathlib import Path

from hyperadapters.runs import RESULT, read_result


def main() -> None:
    folder, output = map(Path, sys.argv[1:])
    scores: dict[str, dict[str, dict[str, list[float]]]] = {}
    for path in sorted(folder.glob(f"*/{RESULT}")):
        result = read_result(path.parent)
        method, rate = result.experiment["method"], f"{result.experiment['training']['lr']:g}"
        by_rate = scores.setdefault(method["type"], {}).setdefault(method["projector_init"], {})
        by_rate.setdefault(rate, []).append(round(100 * result.averages["validation"], 2))
    table = {
        name: {
            start: {rate: {"mean": round(statistics.mean(found), 2), "seeds": found} for rate, found in by_rate.items()}
            for start, by_rate in starts.items()
        }
        for name, starts in scores.items()
    }
    output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
