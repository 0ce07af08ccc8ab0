"""Why Compacter++ falls behind full fine-tuning on MiniLM-L6 with SST-2: one setting changed at a time.

    export MINILM=FOLDER DATA=FOLDER
    hyperadapters sweep experiments/encoder_behind.py --output out/encoder-behind --jobs 2 --pack off
    python -m experiments.documents.evidence_behind_table out/encoder-behind results/encoder-behind.json encoder_behind

Each against the run whose rate won the race, with the head as the model has it.
The table keeps what it has of runs that are not there.
"""

from dataclasses import replace
from typing import Any, Literal

import hyperadapters as ha
from encoder_evidence import experiment

TASK, RATE, SEEDS = "glue/sst2", 1e-3, (1, 2)
"""The rate is the race's winner."""
TRAINING: tuple[dict[str, Any], ...] = ({}, {"lr": 3e-3}, {"lr": 1e-2}, {"steps": 1800, "evaluate_steps": 180})
POOLED: tuple[dict[str, Any], ...] = ({}, {"lr": 3e-3})
"""Changes of training where the head reads the mean of all states."""
FIELDS: tuple[dict[str, Any], ...] = (
    {"positions": ("attention", "feed_forward")},
    {"bottleneck": 96},
    {"shared_slow": False},
    {"n": 12},
)
"""Changes of the method."""


def run(
    fields: dict[str, Any], training: dict[str, Any], seed: int, pooling: Literal["model", "mean"] = "model"
) -> ha.Experiment:
    """Return a run of Compacter++ with some of the method's fields or settings of training changed."""
    base = experiment(ha.method_named("compacter++", fields), TASK, RATE, seed)
    text = replace(base.text, pooling=pooling)
    return replace(base, training=replace(base.training, **training), text=text)


def cases() -> dict[str, list[ha.Experiment]]:
    """Return a run for each seed by the name of what was changed."""
    runs = {}
    for method, training in [*(({}, changed) for changed in TRAINING), *((changed, {}) for changed in FIELDS)]:
        changes = [f"{name} = {value}" for name, value in {**method, **training}.items() if name != "evaluate_steps"]
        runs[", ".join(["compacter++", *changes])] = [run(method, training, seed) for seed in SEEDS]
    for training in POOLED:
        changes = [f"{name} = {value}" for name, value in {"pooling": "mean", **training}.items()]
        runs[", ".join(["compacter++", *changes])] = [run({}, training, seed, "mean") for seed in SEEDS]
    return runs


def experiments() -> list[ha.Experiment]:
    return [run for runs in cases().values() for run in runs]
