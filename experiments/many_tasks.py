"""The tables of docs/results-multi-task.md, from what multitask.py and transfer.py left.

    python experiments/many_tasks.py results/multitask results/transfer

Writes results/multitask.json and results/transfer.json and prints both tables: test scores ×100, mean ± standard
deviation over seeds where there are several. Runs that are not done yet are left out.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import multitask
from hyperadapters._utils import short_names
from hyperadapters.methods import method_from_json
from hyperadapters.runs import RESULT, Result, label_of, read_result

SINGLE = "single-task adapters"
NAMES = short_names(multitask.TASKS)


def results(folder: Path) -> list[Result]:
    return [read_result(path.parent) for path in sorted(folder.glob(f"*/{RESULT}"))]


def by_task(found: list[Result]) -> dict[str, float]:
    """Mean of each task's metrics on test: of a mixture's run, or of one run for each task."""
    scores: dict[str, list[float]] = defaultdict(list)
    for result in found:
        for metric, value in result.metrics["test"].items():
            scores[metric.partition(".")[0] if len(found) == 1 else NAMES[result.task]].append(100 * value)
    return {task: mean(scores[task]) for task in NAMES.values() if task in scores}


def mixtures(folder: Path) -> dict[str, dict]:
    """Each arm's scores by task, one dict a seed, and what it trains; complete arms and seeds alone."""
    groups: dict[tuple[str, int], list[Result]] = defaultdict(list)
    for result in results(folder):
        mixed = result.experiment["task"]["type"] == "mixture"
        arm = label_of(method_from_json(result.experiment["method"])) if mixed else SINGLE
        groups[arm, result.experiment["training"]["seed"]].append(result)
    table: dict[str, dict] = {}
    for (arm, seed), found in sorted(groups.items(), key=lambda item: item[0][1]):
        scores = by_task(found)
        if len(scores) == len(NAMES):
            row = table.setdefault(arm, {"trained": sum(r.trained for r in found), "seeds": {}})
            row["seeds"][str(seed)] = {"average": mean(scores.values()), **scores}
            row["lr"] = found[0].experiment["training"]["lr"]
    return table


def transfers(folder: Path) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Test accuracy by task, arm and rows, over seeds."""
    table: dict[str, dict[str, dict[str, list[float]]]] = {}
    for result in results(folder):
        start, rows = result.experiment["start"], result.experiment["text"]["train_rows"]
        method = label_of(method_from_json(result.experiment["method"]))
        arm = f"{SINGLE if method == 'houlsby' else method}{', rest frozen' if start['freeze'] else ''}"
        table.setdefault(result.task, {}).setdefault(arm, {}).setdefault(str(rows), []).append(100 * result.score)
    return table


def shown(values: list[float]) -> str:
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f} ({len(values)})" if len(values) > 1 else "")


def rows_of(lines: list[list[str]], columns: list[str]) -> str:
    head = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in lines)])


def mixture_table(table: dict[str, dict]) -> str:
    columns = ["average", *NAMES.values()]
    lines = [
        [arm, f"{row['trained']:,}", *(shown([seed[c] for seed in row["seeds"].values()]) for c in columns)]
        for arm, row in sorted(table.items(), key=lambda item: -mean(s["average"] for s in item[1]["seeds"].values()))
    ]
    return rows_of(lines, ["", "trained", *columns])


def transfer_table(arms: dict[str, dict[str, list[float]]]) -> str:
    columns = sorted({rows for found in arms.values() for rows in found}, key=int)
    lines = [[arm, *(shown(found[c]) if c in found else "–" for c in columns)] for arm, found in arms.items()]
    return rows_of(lines, ["", *(f"{rows} rows" for rows in columns)])


def main() -> None:
    folders = list(map(Path, sys.argv[1:]))
    tables = (mixtures(folders[0]), transfers(folders[1]))
    for name, table in zip(("multitask", "transfer"), tables, strict=True):
        Path(f"results/{name}.json").write_text(json.dumps(table, indent=1) + "\n")
    print(mixture_table(tables[0]))
    for task, arms in tables[1].items():
        print(f"\n{task}\n\n{transfer_table(arms)}")


if __name__ == "__main__":
    main()
