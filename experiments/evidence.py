"""Every method on the embedded T5, real data, text to text: the papers' comparison in our numbers.

    hyperadapters sweep experiments/evidence.py --data DATA --output results/evidence --jobs 2
    hyperadapters report results/evidence -o docs/evidence

The cheapest tasks come first and every seed goes through all of them before the next starts, so a grid that was
stopped is a smaller honest table. Rates are those that `evidence_rates.py` chose on validation.
"""

import json
from pathlib import Path

import hyperadapters as ha

TASKS: dict[str, tuple[int | None, int]] = {
    "superglue/copa": (None, 10),
    "superglue/cb": (None, 10),
    "glue/sst2": (3000, 3),
    "glue/cola": (4000, 3),
    "glue/stsb": (3000, 4),
    "glue/mrpc": (None, 3),
    "superglue/wic": (3000, 3),
    "glue/rte": (None, 3),
    "glue/qnli-dev": (2000, 3),
    "superglue/boolq-1886": (None, 3),
}
"""Training rows (None: all) and epochs: sizes for two cores, a minute or two a run."""
METHODS = (
    "full",
    "houlsby",
    "compacter",
    "compacter++",
    "bitfit",
    "prompt-t",
    "intrinsic-said",
    "lowrank",
    "phm",
    "pfeiffer",
    "prompt-r",
)
SEEDS = (1, 2, 3)
RATES_FILE = Path(__file__).parents[1] / "results" / "evidence-rates.json"


def experiment(name: str, task: str, rate: float, seed: int, rows: int | None, **training: int) -> ha.Experiment:
    """One run on the embedded T5."""
    return ha.Experiment(
        method=ha.METHODS[name],
        backbone="embedded",
        task=ha.NamedTask(name=task),
        text=ha.Text(train_rows=rows),
        training=ha.Training(lr=rate, warmup_steps=20, seed=seed, checkpoint_seconds=600, **training),
    )


def chosen_rates() -> dict[str, float]:
    """Each method's rate, as `evidence_rates.py` wrote it."""
    rates: dict[str, float] = json.loads(RATES_FILE.read_text())["chosen"]
    return rates


def experiments() -> list[ha.Experiment]:
    rates = chosen_rates()
    return [
        experiment(name, task, rates[name], seed, rows, epochs=epochs)
        for seed in SEEDS
        for task, (rows, epochs) in TASKS.items()
        for name in METHODS
    ]
