"""Compacter, Figure 4: full fine-tuning against Compacter++ on 100 to 4,000 training rows, five seeds."""

from dataclasses import replace

import hyperadapters as ha
from recipes import GLUE, TRAINING_ROWS, glue, method

EPOCHS = {100: 1000, 500: 200, 1000: 100, 2000: 50, 4000: 25}
SEEDS = (42, 112, 1234, 1111, 2222)


def run(name: str, task: str, rows: int, seed: int) -> ha.Experiment:
    """Return one run of a preset on a number of training rows, or on all that the task has."""
    base = glue(method(name), task)
    return replace(
        base,
        text=replace(base.text, train_rows=min(rows, TRAINING_ROWS[task])),
        training=replace(
            base.training, epochs=EPOCHS[rows], batch_size=40, warmup_steps=0, evaluate_steps=250, seed=seed
        ),
    )


def experiments() -> list[ha.Experiment]:
    return [
        run(name, task, rows, seed)
        for rows in EPOCHS
        for name in ("full", "compacter++")
        for task in GLUE
        for seed in SEEDS
    ]
