"""What a folder of results holds, in one small JSON without paths: a line for each run.

python experiments/summed_up.py results/evidence results/evidence.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from hyperadapters.run import RESULT, Result, read_result


def line(result: Result) -> dict[str, Any]:
    """One run."""
    training, rows = result.experiment["training"], result.experiment["text"]["train_rows"]
    return {
        "task": result.task,
        "method": result.experiment["method"],
        "rows": rows,
        "training": {key: training[key] for key in ("lr", "epochs", "batch_size", "warmup_steps", "seed")},
        "metrics": result.metrics,
        "intervals": result.intervals,
        "trained": result.trained,
        "bytes": result.bytes,
        "peak memory of a step": result.cost.peak_memory,
        "steps": result.steps,
        "best step": result.best_step,
        "versions": result.versions,
    }


def main() -> None:
    folder, output = map(Path, sys.argv[1:])
    lines = [line(read_result(path.parent)) for path in sorted(folder.glob(f"*/{RESULT}"))]
    output.write_text("[\n" + ",\n".join(json.dumps(found) for found in lines) + "\n]\n", encoding="utf-8")
    print(f"{len(lines)} runs")


if __name__ == "__main__":
    main()
