"""HyperFormer's claims (arXiv:2106.04489v1, §3) on a pretrained encoder: eight tasks in one model, at raced rates.

    MINILM=FOLDER DATA=FOLDER python -m experiments.encoder_mixture out/encoder-mixture
    python -m experiments.documents.multitask_tables out/encoder-mixture

The tasks of multitask.py, whose heads have different sizes here. For every arm: a race over its rates on the first seed
(validation alone); when all arms have been raced, the winners with the other seeds. All arms see as many rows: an
adapter of a single task takes an eighth of the steps. Arms stand in order of worth, so a part of the grid is a smaller
honest table; started again, it goes on where it was. JOBS limits how many runs go on at once.
"""

import os
import sys
from pathlib import Path

import hyperadapters as ha
from encoder_evidence import DATA, race_first, repeat
from hyperadapters._utils import console
from hyperadapters.methods import method_named
from hyperadapters.sweeps import local_executor
from multitask import TASKS
from own_rates import GRIDS, MINILM

STEPS, BATCH, EVALUATIONS = 1600, 16, 8
ROWS, EVALUATION_ROWS = 2400, 400
"""At most, of each task, to train and of each other split; CB has 250."""
SOURCE_LENGTH = 64
"""Tokens; BoolQ's passages are cut."""
SEEDS = (1, 2, 3)
GENERATED = (3e-5, 1e-4, 3e-4)
"""Rates for networks that generate weights: encoders want low ones (results/raced-rates.json)."""
ARMS: dict[str, tuple[float, ...]] = {
    "hyperformer++": GENERATED,
    "adapters-multitask": (1e-4, 3e-4, 1e-3),
    "houlsby": GRIDS["houlsby"],
    "full-multitask": (5e-5, 1.5e-4, 5e-4),
    "hyper-compacter": GENERATED,
    "hyperformer": GENERATED,
    "hyper-phm": GENERATED,
}
"""The rates of each arm; `houlsby` has an adapter for each task."""


def run_of(method: str, task: ha.NamedTask | ha.MixtureTask, rate: float, steps: int) -> ha.Experiment:
    """Return a run on one of the tasks or all, of the first seed."""
    alone_on_cb = task == ha.NamedTask(name="superglue/cb", data=DATA)
    return ha.Experiment(
        method=method_named(method),
        backbone=MINILM,
        task=task,
        text=ha.Text(
            source_length=SOURCE_LENGTH, train_rows=250 if alone_on_cb else ROWS, evaluation_rows=EVALUATION_ROWS
        ),
        training=ha.Training(
            lr=rate,
            steps=steps,
            batch_size=BATCH,
            warmup_steps=steps // 10,
            evaluate_steps=steps // EVALUATIONS,
            seed=SEEDS[0],
            checkpoint_seconds=600,
        ),
    )


def runs_of(method: str) -> list[ha.Experiment]:
    """Return the runs of an arm that are raced: at each rate, on all tasks together or on each."""
    rates = ARMS[method]
    if method == "houlsby":
        return [
            run_of(method, ha.NamedTask(name=task, data=DATA), rate, STEPS // len(TASKS))
            for task in TASKS
            for rate in rates
        ]
    return [run_of(method, ha.MixtureTask.named(*TASKS, data=DATA), rate, STEPS) for rate in rates]


def main() -> None:
    output, executor = Path(sys.argv[1]), local_executor(int(os.environ.get("JOBS", "2")))
    winners = {}
    for method in ARMS:
        winners[method] = race_first(runs_of(method), output, executor, keep=True)
        console.print(f"{method}: {', '.join(f'{one.training.lr:g}' for one in winners[method])}")
    for seed in SEEDS[1:]:
        for method, won in winners.items():
            console.print(f"{method}, seed {seed}: {repeat(won, (seed,), output, executor)}")


if __name__ == "__main__":
    main()
