"""Plays races on the histories of whole grids, and writes what they found beside what the grids did, as JSON.

python -m experiments.documents.race_table out/race-check results/race-check.json
"""

import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hyperadapters.runs import RESULT, Result, read_result
from own_sets import set_of

Plan = tuple[tuple[float, int], ...]
"""After which shares of the steps a race compares its runs, and how many go on."""
Rank = Callable[[Result, float], tuple[float, ...]]
"""By what a race ranks a run after a share of its steps: higher is better."""

HALVING: Plan = ((0.1, 3), (0.2, 2), (0.4, 1))
"""Of five runs the better half, as `ha.race` has it."""


def standing(result: Result, share: float) -> tuple[float, float]:
    """Return by what a race ranks a run at a stop: its best validation score so far, and minus its loss there."""
    until = [entry for entry in result.history if entry["step"] <= share * result.steps]
    return max(float(entry["rank"]) for entry in until), -until[-1]["loss"]


def play(grid: Mapping[float, Result], plan: Plan = HALVING, rank: Rank = standing) -> tuple[float, int]:
    """Return the rate that wins a race, and the steps that it takes."""
    left, made = list(grid), dict.fromkeys(grid, 0)
    for share, kept in plan:
        made |= {rate: round(share * grid[rate].steps) for rate in left}
        left = sorted(left, key=lambda rate: rank(grid[rate], share), reverse=True)[:kept]
    (winner,) = left
    made[winner] = grid[winner].steps
    return winner, sum(made.values())


def compare(grid: Mapping[float, Result], plan: Plan = HALVING, rank: Rank = standing) -> dict[str, Any]:
    """Return what the race and the grid found, in percent of validation rows, and whether the race is as good.

    The standard error is that of a share of the rows.
    """
    winner, steps = play(grid, plan, rank)
    scores = {rate: result.averages["validation"] for rate, result in grid.items()}
    best = max(scores.values())
    error = math.sqrt(best * (1 - best) / next(iter(grid.values())).rows["validation"])
    return {
        "grid": {f"{rate:g}": round(100 * score, 2) for rate, score in sorted(scores.items())},
        "test": {f"{rate:g}": round(100 * result.score, 2) for rate, result in sorted(grid.items())},
        "race": f"{winner:g}",
        "standard error": round(100 * error, 2),
        "found": scores[winner] >= best - error,
        "test of the race": round(100 * grid[winner].score, 2),
        "test of the grid": round(100 * grid[max(scores, key=lambda rate: scores[rate])].score, 2),
        "share of steps": round(steps / sum(result.steps for result in grid.values()), 3),
    }


def grids_in(folder: Path) -> dict[str, dict[float, Result]]:
    """Return the whole grids among the runs in a folder, by set and seed."""
    grids: dict[str, dict[float, Result]] = defaultdict(dict)
    for path in sorted(folder.glob(f"*/{RESULT}")):
        result = read_result(path.parent)
        task, training = (result.experiment[part] for part in ("task", "training"))
        grids[f"{set_of(task)}, seed {training['seed']}"][training["lr"]] = result
    return {name: grid for name, grid in sorted(grids.items()) if len(grid) == 5}


def main() -> None:
    folder, output = map(Path, sys.argv[1:])
    table = {name: compare(grid) for name, grid in grids_in(folder).items()}
    output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"{sum(row['found'] for row in table.values())} of {len(table)} races as good as the grid")


if __name__ == "__main__":
    main()
