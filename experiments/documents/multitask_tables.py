"""Writes results/multitask.json and results/transfer.json, or files of their folders' names, and prints the tables.

    python -m experiments.documents.multitask_tables results/multitask results/transfer

The folders are what multitask.py (or encoder_mixture.py) and transfer.py left; the second may be missing. Test
scores ×100, mean ± standard deviation over seeds where there are several. Runs that are not done yet are left out.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import multitask
from hyperadapters._utils import short_names
from hyperadapters.methods import method_from_json
from hyperadapters.reports import markdown_table
from hyperadapters.runs import RESULT, Result, label_of, read_result

SINGLE = "single-task adapters"
NAMES = short_names(multitask.TASKS)


def results_in(folder: Path) -> list[Result]:
    """Return the results of the runs in a folder."""
    return [read_result(path.parent) for path in sorted(folder.glob(f"*/{RESULT}"))]


def by_task(results: list[Result]) -> dict[str, float]:
    """Return the mean of each task's metrics on test: of a mixture's run, or of one run for each task."""
    scores: dict[str, list[float]] = defaultdict(list)
    for result in results:
        for metric, value in result.metrics["test"].items():
            scores[metric.partition(".")[0] if len(results) == 1 else NAMES[result.task]].append(100 * value)
    return {task: mean(scores[task]) for task in NAMES.values() if task in scores}


def summarize_mixtures(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what each method trains and, for each seed with all tasks, its scores by task."""
    groups: dict[tuple[str, int], list[Result]] = defaultdict(list)
    for result in results_in(folder):
        mixed = result.experiment["task"]["type"] == "mixture"
        arm = label_of(method_from_json(result.experiment["method"])) if mixed else SINGLE
        groups[arm, result.experiment["training"]["seed"]].append(result)
    table: dict[str, dict[str, Any]] = {}
    for (arm, seed), results in sorted(groups.items(), key=lambda item: item[0][1]):
        scores = by_task(results)
        if len(scores) == len(NAMES):
            row = table.setdefault(arm, {"trained": sum(result.trained for result in results), "seeds": {}})
            row["seeds"][str(seed)] = {"average": mean(scores.values()), **scores}
            row["lr"] = results[0].experiment["training"]["lr"]
    return table


def summarize_transfer(folder: Path) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return the test accuracies of all seeds by task, method and training rows."""
    table: dict[str, dict[str, dict[str, list[float]]]] = {}
    for result in results_in(folder):
        start, rows = result.experiment["start"], result.experiment["text"]["train_rows"]
        method = label_of(method_from_json(result.experiment["method"]))
        arm = f"{SINGLE if method == 'houlsby' else method}{', rest frozen' if start['freeze'] else ''}"
        table.setdefault(result.task, {}).setdefault(arm, {}).setdefault(str(rows), []).append(100 * result.score)
    return table


def mean_and_deviation(values: list[float]) -> str:
    """Return the mean and, of several values, their standard deviation and number."""
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f} ({len(values)})" if len(values) > 1 else "")


def mixture_table(table: dict[str, dict[str, Any]], tasks: Sequence[str] = ()) -> str:
    """Return the table of the mixtures in Markdown, the best average of the tasks that are shown first; empty: all."""
    tasks = tasks or [*NAMES.values()]
    seeds = {
        arm: [{**seed, "average": mean(seed[task] for task in tasks)} for seed in row["seeds"].values()]
        for arm, row in table.items()
    }
    rows = [
        [
            arm,
            f"{table[arm]['trained']:,}",
            *(mean_and_deviation([seed[name] for seed in seeds[arm]]) for name in ("average", *tasks)),
        ]
        for arm in sorted(table, key=lambda arm: -mean(seed["average"] for seed in seeds[arm]))
    ]
    return markdown_table(["", "trained", "average", *tasks], rows)


def transfer_table(arms: dict[str, dict[str, list[float]]]) -> str:
    """Return one task's table of few-shot transfer in Markdown."""
    numbers = sorted({rows for by_rows in arms.values() for rows in by_rows}, key=int)
    rows = [
        [arm, *(mean_and_deviation(by_rows[number]) if number in by_rows else "–" for number in numbers)]
        for arm, by_rows in arms.items()
    ]
    return markdown_table(["", *(f"{number} rows" for number in numbers)], rows)


def main() -> None:
    mixed, *moved = map(Path, sys.argv[1:])
    mixtures, transfer = summarize_mixtures(mixed), {folder: summarize_transfer(folder) for folder in moved}
    for folder, table in {mixed: mixtures, **transfer}.items():
        Path(f"results/{folder.name}.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(mixture_table(mixtures))
    for task, arms in (item for table in transfer.values() for item in table.items()):
        print(f"\n{task}\n\n{transfer_table(arms)}")


if __name__ == "__main__":
    main()
