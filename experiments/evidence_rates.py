"""The learning rates of `evidence.py`: chosen on the validation split of SST-2 with 1,000 training rows and one seed.

hyperadapters sweep experiments/evidence_rates.py --data DATA --output results/evidence-rates --jobs 2
python -m experiments.documents.choose_rates results/evidence-rates results/evidence-rates.json
"""

import hyperadapters as ha
from evidence import METHODS, experiment

TASK, ROWS, SEED = "glue/sst2", 1000, 1
RATES: dict[str, tuple[float, ...]] = {
    "full": (1e-4, 3e-4, 1e-3),
    "houlsby": (1e-3, 3e-3, 1e-2),
    "pfeiffer": (1e-3, 3e-3, 1e-2),
    "prompt-r": (3e-2, 1e-1, 3e-1),
    "prompt-t": (3e-2, 1e-1, 3e-1),
}
"""The papers' grid, finer, around the rates that learn the demo tasks."""
OTHERS = (3e-3, 1e-2, 3e-2)


def experiments() -> list[ha.Experiment]:
    return [experiment(name, TASK, rate, SEED, ROWS, epochs=3) for name in METHODS for rate in RATES.get(name, OTHERS)]
