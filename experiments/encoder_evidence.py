"""Compacter's claims on a pretrained encoder: methods at rates raced for each of them and each task, three seeds.

    MINILM=FOLDER DATA=FOLDER python -m experiments.encoder_evidence out/encoder-evidence
    python -m experiments.documents.join_results out/encoder-evidence results/encoder-evidence.jsonl MiniLM-L6

For every group of methods and every task: a race over three rates on the first seed (validation alone), then the winner
with the other seeds. The groups stand in order of worth and every race is whole, so a grid that was stopped is a
smaller honest table; started again, it goes on where it was. JOBS and GROUPS (numbers, with commas) limit what is run.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import hyperadapters as ha
from hyperadapters._utils import console
from hyperadapters.methods import method_named
from hyperadapters.sweeps import local_executor
from own_rates import GRIDS, MINILM

DATA = os.environ.get("DATA", "")
TASKS: dict[str, tuple[int, int, int | None]] = {
    "glue/stsb": (500, 64, None),
    "glue/mrpc": (500, 96, None),
    "glue/sst2": (400, 48, 4000),
    "glue/rte": (400, 128, None),
    "glue/qnli-dev": (400, 96, 4000),
    "superglue/wic": (500, 64, None),
    "superglue/cb": (200, 128, None),
    "glue/cola": (1600, 48, None),
}
"""Steps of 32 rows, tokens at which a text is cut, and training rows (None: all)."""
SEEDS = (1, 2, 3)
HEAD = method_named("norms", {"norms": False})
"""The head alone."""
GROUPS: tuple[dict[str, ha.Method], ...] = (
    {name: method_named(name) for name in ("full", "compacter++", "houlsby")},
    {"norms": HEAD, **{name: method_named(name) for name in ("bitfit", "peft:lora")}},
    {name: method_named(name) for name in ("compacter", "pfeiffer", "phm")},
    {name: method_named(name) for name in ("norms", "lowrank", "adapterdrop")},
    {name: method_named(name) for name in ("intrinsic-said", "prompt-r", "prompt-t")},
)
"""Methods by the name of their grid of rates, those that tell most first."""


def experiment(method: ha.Method, task: str, rate: float, seed: int) -> ha.Experiment:
    """Return one run: ten evaluations, the best checkpoint by validation, one tenth of the steps to warm up."""
    steps, length, rows = TASKS[task]
    training = ha.Training(
        lr=rate,
        seed=seed,
        steps=steps,
        batch_size=32,
        warmup_steps=steps // 10,
        evaluate_steps=steps // 10,
        checkpoint_seconds=600,
    )
    return ha.Experiment(
        method=method,
        backbone=MINILM,
        task=ha.NamedTask(name=task, data=DATA),
        text=ha.Text(train_rows=rows, source_length=length),
        training=training,
    )


def main() -> None:
    output = Path(sys.argv[1])
    executor = local_executor(int(os.environ.get("JOBS", "2")))
    for number in map(int, os.environ.get("GROUPS", "0,1,2,3,4").split(",")):
        for task in TASKS:
            runs = [
                experiment(method, task, rate, SEEDS[0])
                for name, method in GROUPS[number].items()
                for rate in GRIDS[name]
            ]
            found = ha.race(runs, output, executor=executor, pack=0)
            seeds = [
                replace(one.experiment, training=replace(one.experiment.training, seed=seed))
                for one in found.races
                for seed in SEEDS[1:]
            ]
            swept = ha.sweep(seeds, output, executor=executor, pack=0)
            console.print(f"group {number}, {task}: {len(runs)} raced, {swept}"[:300])


if __name__ == "__main__":
    main()
