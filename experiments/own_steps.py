"""How many steps own files want, at which rate, and whether ending early costs: the sets that stayed behind the words.

    python -m experiments.own_sets DATA out/own-sets
    MINILM=FOLDER hyperadapters sweep experiments/own_steps.py --output out/own-steps --jobs 2 --pack off
    python -m experiments.documents.own_steps_table out/own-steps results/own-steps.json

MiniLM-L6, one seed; each run's history is its learning curve. `FIRST` asked what held back the defaults of then (5e-3,
three passes); `SEARCH` are the sets of the search alone, from which the defaults of now were taken.
"""

from dataclasses import replace
from typing import NamedTuple

import hyperadapters as ha
from own_check import with_defaults
from own_rates import MINILM


class Planned(NamedTuple):
    """Runs on some sets that end at their last step."""

    names: tuple[str, ...]
    rows: int
    lr: float
    steps: int
    method: str = "compacter++"
    warmup: int = 0
    batch: int = 16
    evaluations: int = 10


FIRST = (
    Planned(("wic", "qnli"), 2000, 5e-3, 375, evaluations=5),
    Planned(("wic", "qnli", "mrpc", "cola"), 2000, 5e-3, 1500, evaluations=20),
    Planned(("wic", "qnli"), 2000, 1e-3, 375, evaluations=5),
    Planned(("wic", "qnli"), 2000, 2e-3, 375, evaluations=5),
)
SEARCH = (
    Planned(("mrpc", "wic", "snli", "sst2"), 2000, 2e-3, 1000),
    Planned(("mrpc", "wic"), 2000, 3e-3, 1000, warmup=100),
    Planned(("mrpc", "wic", "snli", "sst2"), 600, 2e-3, 300),
    Planned(("mrpc", "snli", "wic", "sst2"), 600, 2e-3, 600, batch=8),
    Planned(("snli", "mrpc"), 600, 2e-3, 600),
    Planned(("snli", "mrpc"), 2000, 1e-3, 1000, method="houlsby"),
    Planned(("snli", "mrpc"), 2000, 2e-3, 1000, method="houlsby"),
)

FEW = (Planned(("mrpc", "wic", "snli"), 600, 2e-3, 1200, evaluations=12),)
"""Do few rows want more than the 300 steps that they get?"""


def one(name: str, planned: Planned) -> ha.Experiment:
    """Return a run."""
    run = with_defaults(name, planned.rows, planned.method, MINILM or "embedded", 1)
    training = replace(
        run.training,
        lr=planned.lr,
        steps=planned.steps,
        min_steps=1,
        warmup_steps=planned.warmup,
        batch_size=planned.batch,
        patience=None,
        evaluate_steps=planned.steps // planned.evaluations,
    )
    return replace(run, training=training)


def experiments() -> list[ha.Experiment]:
    """Return all runs."""
    return [one(name, planned) for planned in (*FEW, *SEARCH, *FIRST) for name in planned.names]
