"""Compacter's claims on a pretrained encoder: methods at rates raced for each of them and each task, three seeds.

    MINILM=FOLDER DATA=FOLDER python -m experiments.encoder_evidence out/encoder-evidence
    python -m experiments.documents.join_results out/encoder-evidence results/encoder-evidence.jsonl MiniLM-L6

For every group of methods and every task: a race over four rates on the first seed (validation alone), then the winner
with the other seeds. Groups and tasks stand in order of worth and every race is whole, so a grid that was stopped is a
smaller honest table; started again, it goes on where it was. JOBS and PARTS (numbers of groups, with commas) limit what
is run. What the file KNOWN (joined results of an earlier folder) has with all seeds is not run again. With
POOLING=model, heads read what the model's own does, over its pooler.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hyperadapters as ha
from hyperadapters._utils import console
from hyperadapters.methods import method_named
from hyperadapters.reports import read_results
from hyperadapters.sweeps import Executor, local_executor
from own_rates import GRIDS, MINILM

DATA = os.environ.get("DATA", "")
POOLING: Any = os.environ.get("POOLING", "auto")
"""What the heads read."""
FIRST: dict[str, tuple[int, int, int | None]] = {
    "glue/stsb": (600, 64, None),
    "glue/sst2": (600, 48, 4000),
    "glue/mrpc": (600, 96, None),
    "glue/qnli-dev": (600, 96, None),
}
"""Steps of 16 rows, tokens at which a text is cut, and training rows (None: all): the tasks of every group."""
THEN: dict[str, tuple[int, int, int | None]] = {
    "glue/rte": (600, 128, None),
    "superglue/cb": (300, 128, None),
    "superglue/wic": (800, 64, None),
    "glue/cola": (3200, 48, None),
}
"""What every group is trained on after that."""
SEEDS = (1, 2, 3)
HEAD = method_named("norms", {"norms": False})
"""The head alone."""
GROUPS: tuple[dict[str, ha.Method], ...] = (
    {name: method_named(name) for name in ("full", "compacter++", "houlsby")},
    {"head": HEAD, **{name: method_named(name) for name in ("norms", "peft:lora")}},
    {name: method_named(name) for name in ("compacter", "pfeiffer", "phm")},
    {name: method_named(name) for name in ("bitfit", "lowrank", "adapterdrop")},
    {name: method_named(name) for name in ("intrinsic-said", "prompt-r", "prompt-t")},
)
"""Methods by the name of their grid of rates, those that tell most first."""


RATES = {name: (float(f"{rates[0] / 3:.0e}"), *rates) for name, rates in GRIDS.items()}
RATES |= {"full": (2e-5, 5e-5, 1.5e-4, 5e-4), "head": RATES["norms"]}
"""Those of small files and a lower one, which whole sets want."""


def experiment(method: ha.Method, task: str, rate: float, seed: int) -> ha.Experiment:
    """Return one run: ten evaluations, the best checkpoint by validation, one tenth of the steps to warm up."""
    steps, length, rows = {**FIRST, **THEN}[task]
    training = ha.Training(
        lr=rate,
        seed=seed,
        steps=steps,
        batch_size=16,
        warmup_steps=steps // 10,
        evaluate_steps=steps // 10,
        checkpoint_seconds=600,
    )
    return ha.Experiment(
        method=method,
        backbone=MINILM,
        task=ha.NamedTask(name=task, data=DATA),
        text=ha.Text(train_rows=rows, source_length=length, pooling=POOLING),
        training=training,
    )


def known() -> set[tuple[str, str]]:
    """Return the methods and tasks that the file KNOWN has with all seeds."""
    if "KNOWN" not in os.environ:
        return set()
    seeds: dict[tuple[str, str], set[int]] = defaultdict(set)
    results, _ = read_results(os.environ["KNOWN"])
    for one in (ha.Experiment.from_json(result.experiment) for result in results.values()):
        seeds[str(one.method), one.task.name].add(one.training.seed)
    return {cell for cell, found in seeds.items() if found >= set(SEEDS)}


def race_first(
    runs: list[ha.Experiment], output: Path, executor: Executor, *, keep: bool = False
) -> list[ha.Experiment]:
    """Return the winners of races between runs of one seed."""
    return [one.experiment for one in ha.race(runs, output, executor=executor, keep=keep, pack=0).races]


def repeat(runs: list[ha.Experiment], seeds: Sequence[int], output: Path, executor: Executor) -> ha.SweepResult:
    """Run experiments with other seeds."""
    found = [replace(run, training=replace(run.training, seed=seed)) for run in runs for seed in seeds]
    return ha.sweep(found, output, executor=executor, pack=0)


def main() -> None:
    output, done = Path(sys.argv[1]), known()
    executor = local_executor(int(os.environ.get("JOBS", "2")))
    numbers = [int(number) for number in os.environ.get("PARTS", "0,1,2,3,4").split(",")]
    order = [(number, tasks) for tasks in (FIRST, THEN) for number in numbers]
    for number, task in [(number, task) for number, tasks in order for task in tasks]:
        runs = [
            experiment(method, task, rate, SEEDS[0])
            for name, method in GROUPS[number].items()
            if (str(method), task) not in done
            for rate in RATES[name]
        ]
        if not runs:
            continue
        swept = repeat(race_first(runs, output, executor), SEEDS[1:], output, executor)
        console.print(f"group {number}, {task}: {len(runs)} raced, {swept}"[:300])


if __name__ == "__main__":
    main()
