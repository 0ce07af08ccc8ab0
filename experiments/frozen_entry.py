"""The rate at which a new task's embedding trains alone (`--freeze`): with others it does not learn.

    hyperadapters train --task demo/sentiment,demo/paraphrase,demo/acceptability --method METHOD --output STARTS/METHOD
    STARTS=STARTS hyperadapters sweep experiments/frozen_entry.py --output out/frozen-entry --pack off
    python -m experiments.documents.join_results out/frozen-entry results/frozen-entry.jsonl

METHOD is hyperformer++ and hyper-compacter, with the defaults. The new task is demo/entailment, 100 rows, and starts
from demo/paraphrase. Beside the rates stands the run in which all trains, at the method's own.
"""

import os
from dataclasses import replace
from pathlib import Path

import hyperadapters as ha
from hyperadapters.methods import method_named
from hyperadapters.runs import text_for, training_for

STARTS = Path(os.environ.get("STARTS", "out/starts"))
RATES = (1.0, 0.1, 3e-4, 3.0, 0.3, 3e-2, 3e-3)
METHODS = ("hyperformer++", "hyper-compacter")


def few_shot(name: str, rate: float | None) -> ha.Experiment:
    """Return a run of 200 steps on 100 rows; a rate of None trains everything, at the rate of the method."""
    method, task = method_named(name), ha.NamedTask(name="demo/entailment")
    return ha.Experiment(
        method=method,
        backbone="embedded",
        task=task,
        start=ha.start_from(STARTS / name, "demo/paraphrase", freeze=rate is not None),
        text=replace(text_for(task), train_rows=100),
        training=ha.Training(
            **{**training_for(task), "lr": rate or method.suggested_rate("encoder-decoder", 144), "steps": 200}
        ),
    )


def experiments() -> list[ha.Experiment]:
    return [few_shot(name, rate) for rate in (None, *RATES) for name in METHODS]
