"""Low resource on the embedded T5 (Compacter's Figure 4): full fine-tuning against Compacter++ on 100 to 4,000 rows.

    hyperadapters sweep experiments/evidence_low_resource.py --data DATA --output results/low-resource --jobs 2

SST-2, about 250 steps whatever the rows.
"""

import hyperadapters as ha
from evidence import chosen_rates, experiment

EPOCHS = {100: 62, 500: 15, 1000: 8, 2000: 4, 4000: 2}
SEEDS = (1, 2, 3, 4, 5)


def experiments() -> list[ha.Experiment]:
    rates = chosen_rates()
    return [
        experiment(name, "glue/sst2", rates[name], seed, rows, epochs=epochs, evaluate_steps=62)
        for seed in SEEDS
        for rows, epochs in EPOCHS.items()
        for name in ("full", "compacter++")
    ]
