"""Why Compacter++ falls behind full fine-tuning on the embedded T5: one setting changed at a time, SST-2.

    hyperadapters sweep experiments/evidence_behind.py --data DATA --output results/evidence-behind --jobs 2

Rate, warm-up, steps, bottleneck, n, rank, the slow weights, the sites and the initialisation's share of it (norms,
trained output layer), each against the run of `evidence.py`.
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
    """Compacter++ with something changed."""
    base = limited(experiment("compacter++", TASK, RATE, seed, ROWS, epochs=EPOCHS))
    method = ha.method_named("compacter++", fields)
    return replace(base, method=method, training=replace(base.training, **training))


def experiments() -> list[ha.Experiment]:
    rates = chosen_rates()
    changed = [run({}, training, seed) for training in TRAINING for seed in SEEDS]
    changed += [run(fields, {}, seed) for fields in FIELDS for seed in SEEDS]
    full = [
        limited(experiment("full", TASK, rates["full"], seed, ROWS, epochs=epochs))
        for epochs in (EPOCHS, 3 * EPOCHS)
        for seed in SEEDS
    ]
    return changed + full
