"""Would another rule of racing find more? Plays races with other stops and rankings on the histories of whole grids.

python -m experiments.documents.race_rules out/race-minilm results/race-rules-minilm.json
"""

import json
import sys
from pathlib import Path
from statistics import mean

from documents.race_table import HALVING, Plan, Rank, compare, grids_in, standing
from hyperadapters.runs import Result

PLANS: tuple[Plan, ...] = (
    HALVING,
    ((0.2, 2), (0.4, 1)),
    ((0.1, 3), (0.2, 2), (0.5, 1)),
    ((0.1, 3), (0.3, 1)),
    ((0.1, 4), (0.2, 2), (0.4, 1)),
    ((0.1, 3), (0.3, 2), (0.5, 1)),
    ((0.1, 4), (0.2, 3), (0.3, 1)),
    ((0.1, 4), (0.2, 3), (0.3, 2), (0.4, 1)),
    ((0.1, 2), (0.6, 1)),
)
"""All of them take 40 % of the grid's steps or less."""


def latest(result: Result, share: float) -> tuple[float, ...]:
    """Rank by the last validation score, then by its loss."""
    entry = [one for one in result.history if one["step"] <= share * result.steps][-1]
    return float(entry["rank"]), -entry["loss"]


def of_the_loss(result: Result, share: float) -> tuple[float, ...]:
    """Rank by the last validation loss alone."""
    return latest(result, share)[1:]


def of_two(result: Result, share: float) -> tuple[float, ...]:
    """Rank by the mean of the last two validation scores."""
    last = [float(one["rank"]) for one in result.history if one["step"] <= share * result.steps][-2:]
    return (mean(last),)


RANKS: dict[str, Rank] = {"best score": standing, "last score": latest, "loss": of_the_loss, "two scores": of_two}


def main() -> None:
    folder, output = map(Path, sys.argv[1:])
    grids, table = grids_in(folder), {}
    for plan in PLANS:
        for words, rank in RANKS.items():
            found = {name: compare(grid, plan, rank) for name, grid in grids.items()}
            behind = [max(one["grid"].values()) - one["grid"][one["race"]] for one in found.values()]
            table[", ".join([*(f"{kept} after {share:.0%}" for share, kept in plan), words])] = {
                "as good as the grid": sum(one["found"] for one in found.values()),
                "grids": len(found),
                "behind on validation, mean": round(mean(behind), 2),
                "test, mean": round(mean(one["test of the race"] for one in found.values()), 2),
                "share of steps": max(one["share of steps"] for one in found.values()),
                "missed": [name for name, one in found.items() if not one["found"]],
            }
    output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for rule, row in table.items():
        print(f"{rule}: {row['as good as the grid']} of {row['grids']}, {row['share of steps']:.0%} of the steps")


if __name__ == "__main__":
    main()
