"""Does a race over learning rates find what the whole grid finds? Ten grids of five rates, each on other training rows.

    hyperadapters sweep experiments/race_check.py --output out/race-check --jobs 2 --pack off
    python -m experiments.documents.race_table out/race-check results/race-check.json

With MINILM=FOLDER the grids are those of `--tune` with the defaults, on 600 rows of the ten sets of `own_sets.py`
(results/race-check-minilm.json). Every run goes to its end, with ten evaluations, so the race, which is a function of
them, is played on their histories.
"""

from dataclasses import replace

import hyperadapters as ha
from hyperadapters.methods import method_named
from own_check import with_defaults
from own_rates import MINILM

GRIDS = (("demo/paraphrase", 4), ("demo/entailment", 3), ("demo/sentiment", 3))
"""Each task with how often its training rows are drawn."""
FACTORS = (0.1, 0.32, 1.0, 3.2, 10.0)
"""Those of `tune`, around the method's own rate."""
METHOD, BACKBONE, ROWS, STEPS = "compacter++", "embedded", 600, 200
OWN_SETS, OWN_STEPS = ("wic", "cola", "qnli", "scitail", "sst2", "mrpc", "qqp", "snli", "mnli", "imdb"), 304
"""The sets of own files, the closest calls first, and the steps that 600 rows get."""


def on_own_files(name: str) -> list[ha.Experiment]:
    """Return the runs of one grid on 600 rows of a set, with the default settings but for patience."""
    run = with_defaults(name, ROWS, METHOD, MINILM, seed=1)
    rates = [float(f"{factor * run.training.lr:.2g}") for factor in FACTORS]
    return [
        replace(run, training=replace(run.training, lr=rate, patience=None, evaluate_steps=OWN_STEPS // 10))
        for rate in rates
    ]


def experiments() -> list[ha.Experiment]:
    """Return the runs of all grids, one grid after the other."""
    if MINILM:
        return [run for name in OWN_SETS for run in on_own_files(name)]
    rate = method_named(METHOD).suggested_rate("encoder-decoder", 144)
    return [
        ha.Experiment(
            method=method_named(METHOD),
            backbone=BACKBONE,
            task=ha.NamedTask(name=task),
            text=ha.Text(train_rows=ROWS, evaluation_rows=300, source_length=64),
            training=ha.Training(
                lr=float(f"{factor * rate:.2g}"), seed=seed, steps=STEPS, batch_size=16, evaluate_steps=STEPS // 10
            ),
        )
        for task, draws in GRIDS
        for seed in range(1, draws + 1)
        for factor in FACTORS
    ]
