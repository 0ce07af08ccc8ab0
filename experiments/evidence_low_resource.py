"""Low resource on the embedded T5 (Compacter's Figure 4): full fine-tuning against Compacter++ on 100 to 4,000 rows.

    hyperadapters sweep experiments/evidence_low_resource.py --data DATA --output results/low-resource --jobs 2

SST-2, about 150 steps whatever the rows; Compacter++ as it is, and with the output layer trained too, which
`evidence_behind.py` found to matter on this backbone.
"""

from dataclasses import replace

import hyperadapters as ha
from evidence import chosen_rates, experiment, limited

EPOCHS = {100: 38, 500: 9, 1000: 5, 2000: 2, 4000: 1}
SEEDS = (1, 2, 3, 4, 5)
ARMS = (ha.METHODS["full"], ha.METHODS["compacter++"], ha.method_named("compacter++", {"output_layer": True}))


def run(method: ha.Method, rows: int, seed: int) -> ha.Experiment:
    """Return one run on a number of training rows."""
    name = "full" if method == ARMS[0] else "compacter++"
    base = experiment(name, "glue/sst2", chosen_rates()[name], seed, rows, epochs=EPOCHS[rows], evaluate_steps=50)
    return limited(replace(base, method=method))


def experiments() -> list[ha.Experiment]:
    return [run(method, rows, seed) for rows in EPOCHS for method in ARMS for seed in SEEDS]
