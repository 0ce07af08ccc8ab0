"""The defaults for own files, as a user meets them, on the ten real sets: does every one beat a model of the words?

    python -m experiments.own_sets DATA out/own-sets
    MINILM=FOLDER hyperadapters sweep experiments/own_check.py --output out/own-check --jobs 2 --pack off
    python -m experiments.documents.own_check_table results/own-check.json out/own-check

Each result has the model of the words beside its score (`baselines`). The sets in `HELD_OUT` took no part in the search
for rates and steps.
"""

from dataclasses import replace

import hyperadapters as ha
from hyperadapters.backbones import kind_and_width
from hyperadapters.methods import method_named
from hyperadapters.runs import text_for, training_for
from own_rates import MINILM, own
from own_sets import HELD_OUT, SEARCH

ROWS, SEEDS, METHODS = (2000, 200, 600), (1, 2, 3), ("compacter++", "houlsby")


def with_defaults(name: str, rows: int, method: str, backbone: str, seed: int) -> ha.Experiment:
    """Return the run that `hyperadapters train --train ... --max-train ROWS --seed SEED` plans."""
    task = own(name, rows, method, 1e-3, backbone).task
    rate = method_named(method).suggested_rate(*kind_and_width(backbone))
    return ha.Experiment(
        method=method_named(method),
        backbone=backbone,
        task=task,
        text=replace(text_for(task), train_rows=min(rows, 1000) if name == "scitail" else rows),
        training=ha.Training(lr=rate, seed=seed, **training_for(task)),
    )


def experiments() -> list[ha.Experiment]:
    """Return all runs: those that tell most come first."""
    return [
        with_defaults(name, rows, method, MINILM or "embedded", seed)
        for seed in SEEDS
        for method in METHODS
        for rows in ROWS
        for name in (*SEARCH, *HELD_OUT)
    ]
