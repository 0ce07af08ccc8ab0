"""Every method on the embedded T5, real data, text to text: the papers' comparison in our numbers.

    hyperadapters sweep experiments/evidence.py --data DATA --output results/evidence --jobs 2
    python -m experiments.documents.join_results results/evidence results/evidence.jsonl
    python -m experiments.documents.pages

The tasks that this backbone learns come first, each with all methods and seeds, so a grid that was stopped is a smaller
honest table. Rates are those that `evidence_rates.py` chose on validation.
"""

import json
from dataclasses import replace
from pathlib import Path

import hyperadapters as ha

TASKS: dict[str, tuple[int | None, int]] = {
    "glue/sst2": (2000, 3),
    "glue/mrpc": (2000, 3),
    "glue/stsb": (1000, 3),
    "superglue/cb": (None, 10),
    "glue/qnli-dev": (1000, 3),
    "superglue/copa": (None, 5),
    "glue/cola": (1000, 3),
    "glue/rte": (1000, 3),
    "superglue/wic": (1000, 3),
    "superglue/boolq-1886": (None, 2),
}
"""Training rows (None: all) and epochs: sizes for two cores, half a minute a run."""
EVALUATION_ROWS = 500
"""At most, of each task's validation and test rows."""
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
    """Return one run on the embedded T5, scored on all rows."""
    return ha.Experiment(
        method=ha.METHODS[name],
        backbone="embedded",
        task=ha.NamedTask(name=task),
        text=ha.Text(train_rows=rows),
        training=ha.Training(lr=rate, warmup_steps=20, seed=seed, checkpoint_seconds=600, **training),
    )


def chosen_rates() -> dict[str, float]:
    """Return each method's rate, which `choose_rates` found in the runs of `evidence_rates.py`."""
    rates: dict[str, float] = json.loads(RATES_FILE.read_text())["chosen"]
    return rates


def experiments() -> list[ha.Experiment]:
    rates = chosen_rates()
    return [
        limited(experiment(name, task, rates[name], seed, rows, epochs=epochs))
        for task, (rows, epochs) in TASKS.items()
        for name in METHODS
        for seed in SEEDS
    ]


def limited(run: ha.Experiment) -> ha.Experiment:
    """Return the same run, scored on at most EVALUATION_ROWS rows of each split."""
    return replace(run, text=replace(run.text, evaluation_rows=EVALUATION_ROWS))
