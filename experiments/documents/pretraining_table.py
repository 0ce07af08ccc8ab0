"""Writes results/pretraining-proof.json from the runs of pretraining_proof.py and prints its table.

    python -m experiments.documents.pretraining_table DATA results/pretraining-proof results/pretraining-proof.json

Mean and standard deviation over three seeds, the margin of the pretrained network, and logistic regression on bags of
words beside them, trained on the rows under DATA. Tasks that lack a run are left out.
"""

import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

import hyperadapters as ha
from hyperadapters.reports import markdown_table
from hyperadapters.runs import RESULT, read_result
from hyperadapters.sweeps import experiment_key
from hyperadapters.training import draw_rows
from pretraining_proof import ARMS, EVALUATION_ROWS, SEEDS, TASKS, experiments


def bag_of_words(task: str, data: Path) -> float:
    """Return the mean test metric of logistic regression on words and pairs of words; C is chosen on validation."""
    rows, _ = TASKS[task]
    definition = ha.TASKS[task]
    examples = definition.examples(data)
    test = examples["test"]
    examples["test"] = draw_rows(test, EVALUATION_ROWS.get(task, len(test)), 0)
    order = torch.randperm(len(examples["train"]), generator=torch.Generator().manual_seed(SEEDS[0])).tolist()
    train = [examples["train"][i] for i in order[:rows]]
    bag = CountVectorizer(ngram_range=(1, 2), binary=True)
    features = bag.fit_transform([row.source for row in train])

    def score(model: LogisticRegression, split: str) -> float:
        answers = model.predict(bag.transform([row.source for row in examples[split]]))
        values = [definition.form.target.decode(answer) for answer in answers]
        right = [definition.form.target.decode(row.target) for row in examples[split]]
        return mean(metric(values, right) for metric in definition.metrics)

    models = [LogisticRegression(C=c, max_iter=1000).fit(features, [r.target for r in train]) for c in (0.01, 0.1, 1)]
    return score(max(models, key=lambda model: score(model, "validation")), "test")


def scores_by_arm(folder: Path) -> dict[tuple[str, str], list[float]]:
    """Return the test scores ×100 of all seeds by task and backbone, of the runs that are done."""
    scores: dict[tuple[str, str], list[float]] = {}
    for run in experiments():
        if (folder / experiment_key(run) / RESULT).exists():
            scores.setdefault((run.task.name, run.backbone), []).append(
                100 * read_result(folder / experiment_key(run)).score
            )
    return scores


def summarize(data: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Return each task's test score (mean of its metrics, ×100) from random and from pretrained weights."""
    scores = scores_by_arm(folder)
    table: dict[str, dict[str, Any]] = {}
    for task in TASKS:
        arms = {name: scores.get((task, backbone), []) for name, backbone in ARMS.items()}
        if all(len(seeds) == len(SEEDS) for seeds in arms.values()):
            row = {name: {"mean": mean(seeds), "sd": stdev(seeds), "scores": seeds} for name, seeds in arms.items()}
            margin = row["pretrained"]["mean"] - row["random"]["mean"]
            table[task] = {"bag of words": 100 * bag_of_words(task, data), **row, "margin": margin}
    return table


def proof_table(table: dict[str, dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    rows = [
        [
            task,
            str(TASKS[task][0]),
            f"{row['bag of words']:.1f}",
            *(f"{row[name]['mean']:.1f} ± {row[name]['sd']:.1f}" for name in ARMS),
            f"{row['margin']:+.1f}",
        ]
        for task, row in table.items()
    ]
    return markdown_table(["task", "rows", "bag of words", "from random weights", "pretrained", "margin"], rows)


def main() -> None:
    data, folder, output = map(Path, sys.argv[1:])
    table = summarize(data, folder)
    output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(proof_table(table))


if __name__ == "__main__":
    main()
