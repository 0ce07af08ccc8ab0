"""Adapters from descriptions: HyperFormer++ trained on 150 described tasks, asked for 50 that it has never seen.

    MINILM=FOLDER DATA=FOLDER python -m experiments.from_descriptions results/from-descriptions.json

For each source of task embeddings and each seed: train on the described tasks of the package, then answer test rows of
the held-out ones (new attributes; a new form) with the adapter that is written from what is said of the task, with that
of the training task whose state is nearest, with the mean task's, and with that of another held-out task. Then train
what the task has for itself on 32 rows, from what is said of it and from the mean. Scores are accuracies in percent, by
task; chance is 50. Started again, it goes on with what is not in the file. SEEDS and SOURCES (with commas) limit it.
"""

import os
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import hyperadapters as ha
from hyperadapters._utils import read_json, write_json
from hyperadapters.backbones import load_backbone
from hyperadapters.delta import near_tasks
from hyperadapters.methods import method_named
from hyperadapters.tasks import described_tasks
from own_rates import MINILM

METHOD, RATE, STEPS, BATCH = "hyperformer++", 3e-4, 250, 32
TRAIN_ROWS, TEST_ROWS = 100, 100
FEW, FEW_STEPS, FEW_RATE, FEW_TASKS = 32, 15, 3e-3, 10
Scores = dict[str, float]


def data_of(name: str, tokenizer: Any, backbone: Any, rows: int, seed: int) -> ha.Data:
    """Return a described task's rows in tokens."""
    text = ha.Text(train_rows=rows, evaluation_rows=TEST_ROWS, source_length=64)
    folder = os.environ.get("DATA")
    return ha.load_data(name, tokenizer, folder, text, backbone=backbone, seed=seed)


def said_of(data: ha.Data, source: str) -> tuple[str, ...]:
    """Return what a Delta reads of a task."""
    return data.wordings if source == "description" else data.examples


def accuracy(delta: ha.Delta, data: ha.Data, task: str) -> float:
    """Return how many test rows of a task the adapter of a task answers rightly, in percent."""
    asked = replace(data, form=replace(data.form, name=task))
    return 100 * ha.evaluate(delta, asked).metrics["accuracy"]


class Trained:
    """A Delta trained on the training tasks, with the held-out ones added to it as it was told of them."""

    def __init__(self, source: str, seed: int) -> None:
        torch.manual_seed(seed)
        backbone, tokenizer = load_backbone(MINILM)
        self.training_tasks, self.source, self.seed = described_tasks("train"), source, seed

        def load(name: str) -> ha.Data:
            return data_of(name, tokenizer, backbone, TRAIN_ROWS, seed)

        mixture = ha.Mixture(tuple(load(name) for name in self.training_tasks))
        self.held = {name: load(name) for part in ("attribute", "form") for name in described_tasks(part)}
        method = method_named(METHOD, {"task_source": source})
        self.delta = ha.attach(backbone, method, "described", tasks=self.training_tasks, outputs=2, seed=seed)
        self.delta.describe({data.form.name: said_of(data, source) for data in mixture.tasks}, tokenizer)
        training = ha.Training(
            lr=RATE, steps=STEPS, batch_size=BATCH, warmup_steps=STEPS // 10, evaluate_steps=STEPS, seed=seed
        )
        few = tuple(replace(d, splits={**d.splits, "validation": d.splits["validation"][:4]},
                            references={**d.references, "validation": d.references["validation"][:4]})
                    for d in mixture.tasks)  # fmt: skip
        ha.fit(self.delta, replace(mixture, tasks=few), training)
        self.delta.add_task("mean")
        for name, data in self.held.items():
            self.delta.add_task(name)
            self.delta.describe({name: said_of(data, source)}, tokenizer)
        self.seen = mixture.tasks

    def nearest(self, name: str) -> str:
        """Return the training task whose state is nearest to a held-out one's."""
        found = near_tasks(self.delta, name)
        return next(task for task in found if task in self.training_tasks)

    def without_training(self) -> dict[str, Scores]:
        """Return the accuracies of each held-out task by whose adapter answers."""
        rng, found = random.Random(self.seed), {}
        for part in ("attribute", "form"):
            names = described_tasks(part)
            others = dict(zip(names, rng.sample(names, len(names)), strict=True))
            for name in names:
                who = {"described": name, "nearest": self.nearest(name), "mean": "mean", "shuffled": others[name]}
                found[name] = {how: accuracy(self.delta, self.held[name], task) for how, task in who.items()}
        return found

    def on_training_tasks(self) -> Scores:
        """Return the accuracies on test rows of every tenth training task."""
        return {data.form.name: accuracy(self.delta, data, data.form.name) for data in self.seen[::10]}

    def with_few_rows(self) -> dict[str, Scores]:
        """Return the accuracies of some held-out tasks after training on few rows, by where it starts."""
        states = self.delta.parts["adapters"].known_of_tasks().states
        names = random.Random(0).sample(described_tasks("attribute"), FEW_TASKS)
        found: dict[str, Scores] = {name: {} for name in names}
        for name in names:
            data, own = self.held[name], self.delta.tasks.index(name)
            rows = random.Random(self.seed).sample(range(TRAIN_ROWS), FEW)
            few = replace(data, splits={**data.splits, "train": [data.splits["train"][row] for row in rows]})
            before = states[own].clone()
            for start, number in (("described", own), ("mean", self.delta.tasks.index("mean"))):
                states[own] = before if start == "described" else states[number]
                self.delta.train_only(name)
                ha.fit(self.delta, few, few_training(self.seed), quiet=True)
                self.delta.train_only(None)
                found[name][start] = accuracy(self.delta, data, name)
            states[own] = before
        return found


def few_training(seed: int) -> ha.Training:
    """Return how a task is trained on few rows: to the end, as there are no rows to stop by."""
    return ha.Training(lr=FEW_RATE, steps=FEW_STEPS, batch_size=16, evaluate_steps=FEW_STEPS, seed=seed)


def main() -> None:
    output = Path(sys.argv[1])
    report: dict[str, Any] = read_json(output) if output.is_file() else {}
    settings = {"rate": RATE, "steps": STEPS, "batch": BATCH, "train_rows": TRAIN_ROWS, "few_rate": FEW_RATE}
    for source in os.environ.get("SOURCES", "description,examples").split(","):
        for seed in os.environ.get("SEEDS", "1,2,3").split(","):
            if seed in report.get(source, {}):
                continue
            trained = Trained(source, int(seed))
            found = {"held out": trained.without_training(), "training tasks": trained.on_training_tasks()}
            report.setdefault(source, {})[seed] = {**settings, **found}
            write_json(output, report)
            report[source][seed]["32 rows"] = trained.with_few_rows()
            write_json(output, report)


if __name__ == "__main__":
    main()
