"""Adapters beside the backbone against adapters in it: a ladder and Houlsby's adapters on a small encoder.

    DATA=FOLDER MINILM=FOLDER hyperadapters sweep experiments/beside.py --output out/beside --jobs 2 --pack off
    python -m experiments.documents.beside_table out/beside results/beside.json

DATA holds the official files of GLUE, MINILM a MiniLM-L6 (384 wide). 2,000 training rows, three seeds; the ladder's
rate is chosen by the mean validation score over the seeds, that of Houlsby's adapters is the one that was searched for
small encoders (results/own-rates.json). The ladder reads states that are kept.
"""

import os

import hyperadapters as ha
from hyperadapters.methods import method_named

DATA, MINILM = os.environ.get("DATA", "data"), os.environ.get("MINILM", "")
TASKS, SEEDS = ("glue/sst2", "glue/mrpc", "glue/stsb"), (1, 2, 3)
RATES = {"houlsby": (2e-3,), "side": (1e-3, 3e-3), "side-compacter": (3e-3,)}


def one(method: str, task: str, lr: float, seed: int) -> ha.Experiment:
    """Return one run."""
    reuse = "fp32" if method.startswith("side") else "none"
    return ha.Experiment(
        method=method_named(method),
        backbone=MINILM or "embedded",
        task=ha.NamedTask(name=task, data=DATA),
        text=ha.Text(train_rows=2000, source_length=64, pooling="model"),
        training=ha.Training(
            lr=lr, steps=375, batch_size=16, evaluate_steps=75, seed=seed, checkpoint_seconds=600, reuse=reuse
        ),
    )


def experiments() -> list[ha.Experiment]:
    """Return all runs: those of the first seed before the others."""
    return [
        one(method, task, lr, seed)
        for seed in SEEDS
        for task in TASKS
        for method, rates in RATES.items()
        for lr in rates
    ]
