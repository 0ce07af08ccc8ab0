"""How many steps own files want, at which rate, and whether ending early costs: the sets that stayed behind the words.

    python -m experiments.own_sets DATA out/own-sets
    MINILM=FOLDER hyperadapters sweep experiments/own_steps.py --output out/own-steps --jobs 2 --pack off
    python -m experiments.documents.own_steps_table out/own-steps results/own-steps.json

Compacter++ on MiniLM-L6, 2,000 rows, one seed; each run's history is its learning curve.
"""

from dataclasses import replace

import hyperadapters as ha
from own_check import with_defaults
from own_rates import MINILM

RUNS: dict[str, tuple[tuple[float, int], ...]] = {
    "wic": ((5e-3, 375), (5e-3, 1500), (1e-3, 375), (2e-3, 375)),
    "qnli": ((5e-3, 375), (5e-3, 1500), (1e-3, 375), (2e-3, 375)),
    "mrpc": ((5e-3, 1500),),
    "cola": ((5e-3, 1500),),
}
"""By set, the rate and the steps of each run without an early end."""
ENDING_EARLY = ("mrpc", "snli", "sst2")
"""The sets that are run with the defaults' early end at a lower rate, 2e-3."""


def experiments() -> list[ha.Experiment]:
    """Return all runs."""
    found = []
    for name in dict.fromkeys((*RUNS, *ENDING_EARLY)):
        run = with_defaults(name, 2000, "compacter++", MINILM or "embedded", 1)
        for lr, steps in RUNS.get(name, ()):
            whole = replace(run.training, lr=lr, steps=steps, patience=None, evaluate_steps=75)
            found.append(replace(run, training=whole))
        if name in ENDING_EARLY:
            found.append(replace(run, training=replace(run.training, lr=2e-3)))
    return found
