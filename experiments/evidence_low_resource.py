"""Low resource on the embedded T5 (Compacter's Figure 4): full fine-tuning against Compacter++ on 100 to 4,000 rows.

    hyperadapters sweep experiments/evidence_low_resource.py --data DATA --output results/low-resource --jobs 2

SST-2, about 150 steps whatever the rows.
"""

import hyperadapters as ha
from evidence import chosen_rates, experiment, limited

EPOCHS = {100: 38, 500: 9, 1000: 5, 2000: 2, 4000: 1}
SEEDS = (1, 2, 3, 4, 5)


def experiments() -> list[ha.Experiment]:
    rates = chosen_rates()
    return [
        limited(experiment(name, "glue/sst2", rates[name], seed, rows, epochs=epochs, evaluate_steps=50))
        for rows, epochs in EPOCHS.items()
        for name in ("full", "compacter++")
        for seed in SEEDS
    ]
