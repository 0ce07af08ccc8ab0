"""Few-shot transfer (HyperFormer, arXiv:2106.04489v1, §3): from each model of multitask.py to a task it has not seen.

    hyperadapters sweep experiments/transfer.py --data DATA --output results/transfer

SciTail starts from RTE's entry, IMDB from SST-2's; a single-task adapter of that task, and multi-task T5, go on from
their own weights. SciTail's training set was not available: `scitail-test` splits the official test set. The starts are
the adapters that multitask.py left in STARTS (`--keep-adapters`), of its first seed; what is not there is left out.
Few rows come first, every arm before the next seed.
"""

import os
from pathlib import Path

import hyperadapters as ha
import multitask
from hyperadapters.sweeps import experiment_key

STARTS = Path(os.environ.get("STARTS", "results/multitask"))
"""Where the models lie that the runs start from."""
LIKE = {"scitail-test": "glue/rte", "imdb": "glue/sst2"}
"""The task each new one starts from."""
ROWS = (4, 16, 32, 100, 500)
STEPS = 60
BATCH = 16
EVALUATION_ROWS = 300
SEEDS = (1, 2, 3, 4, 5)
FROZEN = ("hyperformer++",)
"""Methods that are tried with the rest frozen too."""


def starts(task: str) -> list[tuple[ha.Method, ha.WarmStart]]:
    """Return the methods of the trained models for this task that are there, with how a run starts from each."""
    like, found = LIKE[task], []
    for experiment in multitask.experiments():
        folder = STARTS / experiment_key(experiment)
        mixed = isinstance(experiment.task, ha.MixtureTask)
        fits = experiment.method in arms() if mixed else experiment.task.name == like
        if experiment.training.seed != multitask.SEEDS[0] or not fits or not (folder / "result.json").exists():
            continue
        freezing = (False, True) if experiment.method in [ha.METHODS[name] for name in FROZEN] else (False,)
        found += [
            (experiment.method, ha.start_from(folder, like if mixed else "", freeze=freeze)) for freeze in freezing
        ]
    return found


def arms() -> list[ha.Method]:
    """Return the methods of multitask.py without its ablations."""
    return [ha.METHODS[name] for name in multitask.ARMS]


def few_shot(method: ha.Method, start: ha.WarmStart, task: str, rows: int, seed: int) -> ha.Experiment:
    """Return one run on a number of training rows."""
    return ha.Experiment(
        method=method,
        backbone="embedded",
        task=ha.NamedTask(name=task),
        start=start,
        text=ha.Text(source_length=multitask.SOURCE_LENGTH, train_rows=rows, evaluation_rows=EVALUATION_ROWS),
        training=ha.Training(
            lr=method.suggested_rate("encoder-decoder", 144, entry_only=start.freeze),
            steps=STEPS,
            batch_size=BATCH,
            evaluate_steps=STEPS // 3,
            seed=seed,
            checkpoint_seconds=600,
        ),
    )


def experiments() -> list[ha.Experiment]:
    models = {task: starts(task) for task in LIKE}
    if not any(models.values()):
        raise ha.InputError(
            f"there is no trained model in {STARTS}: run experiments/multitask.py with --keep-adapters first, and say "
            "with the environment variable STARTS where they lie."
        )
    return [
        few_shot(method, start, task, rows, seed)
        for seed in SEEDS
        for task in LIKE
        for rows in ROWS
        for method, start in models[task]
    ]
