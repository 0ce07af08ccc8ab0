"""Why Compacter++ falls behind full fine-tuning on the embedded T5: one setting changed at a time, SST-2.

    hyperadapters sweep experiments/evidence_behind.py --data DATA --output results/evidence-behind --jobs 2
    python -m experiments.documents.evidence_behind_table results/evidence-behind results/evidence-behind.json

Rate, warm-up, steps, bottleneck, n, rank, the slow weights, the sites, the output layer, each against the run of
`evidence.py`. The second command prints the table of docs/results/why-behind.md.
"""

from dataclasses import replace
from typing import Any

import hyperadapters as ha
from evidence import chosen_rates, experiment, limited

TASK, ROWS, EPOCHS, SEEDS = "glue/sst2", 2000, 3, (1, 2)
RATE = 3e-2
"""The largest that `evidence_rates.py` tried; where the search starts here."""
TRAINING: tuple[dict[str, Any], ...] = (
    {},
    {"lr": 1e-1},
    {"lr": 1e-2},
    {"warmup_steps": 0},
    {"warmup_steps": 60},
    {"epochs": 9},
)
FIELDS: tuple[dict[str, Any], ...] = (
    {"bottleneck": 96},
    {"n": 2},
    {"n": 12},
    {"rank": 4},
    {"shared_slow": False},
    {"train_slow": False},
    {"positions": ("attention", "feed_forward")},
    {"output_layer": True},
)
"""Changes of the method."""


def run(fields: dict[str, Any], training: dict[str, Any], seed: int) -> ha.Experiment:
    """Return a run of Compacter++ with some of the method's fields or settings of training changed."""
    base = limited(experiment("compacter++", TASK, RATE, seed, ROWS, epochs=EPOCHS))
    method = ha.method_named("compacter++", fields)
    return replace(base, method=method, training=replace(base.training, **training))


def cases() -> dict[str, list[ha.Experiment]]:
    """Return a run for each seed by the name of what was changed."""
    runs = {}
    for method, training in [*(({}, changed) for changed in TRAINING), *((changed, {}) for changed in FIELDS)]:
        changes = [f"{name} = {value}" for name, value in {**method, **training}.items()]
        runs[", ".join(["compacter++", *changes])] = [run(method, training, seed) for seed in SEEDS]
    rate = chosen_rates()["full"]
    for epochs in (EPOCHS, 3 * EPOCHS):
        runs[f"full, epochs = {epochs}"] = [
            limited(experiment("full", TASK, rate, seed, ROWS, epochs=epochs)) for seed in SEEDS
        ]
    return runs


def experiments() -> list[ha.Experiment]:
    return [run for runs in cases().values() for run in runs]
