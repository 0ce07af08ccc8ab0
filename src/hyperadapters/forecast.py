"""What a sweep will cost, before it starts: runs, steps, tokens, and hours as far as they can be told."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from hyperadapters.anatomy import kind_of
from hyperadapters.backbone import default_device, load_config, resolve
from hyperadapters.data import encode
from hyperadapters.errors import InputError
from hyperadapters.experiment import Experiment, resolve_tasks, task_name
from hyperadapters.measure import parameters_of
from hyperadapters.run import RESULT, read_result
from hyperadapters.sweep import key

SAMPLE = 512
"""Training rows whose lengths stand for all."""

FLOPS_A_PARAMETER = 2.5
"""A training step's operations for each parameter and token: a token meets less than half of an encoder-decoder."""


@dataclass(frozen=True)
class TaskCost:
    """Some runs' cost."""

    task: str
    runs: int = 0
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def plus(self, steps: int, tokens: int, seconds: float) -> "TaskCost":
        """One run more."""
        return replace(
            self,
            runs=self.runs + 1,
            steps=self.steps + steps,
            tokens=self.tokens + tokens,
            seconds=self.seconds + seconds,
        )


@dataclass(frozen=True)
class Forecast:
    """What is left to do of a sweep."""

    done: int
    costs: list[TaskCost]
    """By task."""
    unknown: dict[str, str]
    """Task -> why its rows could not be counted; its runs are in no cost."""
    basis: str
    """What the seconds are estimated from."""


def forecast(experiments: Sequence[Experiment], folder: Path) -> Forecast:
    """Count what has no result in `folder` yet. Seconds are those of one process.

    Estimated from the finished runs in the folder, else from how fast this machine multiplies matrices; evaluation
    and loading come on top.
    """
    planned = {key(experiment): experiment for experiment in experiments}
    todo = {name: e for name, e in planned.items() if not (folder / name / RESULT).exists()}
    pace, basis = seconds_a_token(folder)
    sizes: dict[Any, tuple[int, float]] = {}
    costs: dict[str, TaskCost] = {}
    unknown: dict[str, str] = {}
    for experiment in todo.values():
        task = task_name(experiment.task)
        what = (experiment.task, experiment.text, experiment.backbone)
        try:
            sizes[what] = sizes.get(what) or rows_and_length(experiment)
        except InputError as error:
            unknown[task] = str(error)
            continue
        rows, length = sizes[what]
        training = experiment.training
        steps = training.steps or training.epochs * math.ceil(rows / training.batch_size)
        rows_seen = steps * min(rows, training.batch_size) if training.steps else training.epochs * rows
        tokens = round(rows_seen * length)
        seconds = pace * tokens * parameters_of(experiment.backbone, experiment.method).total
        costs[task] = costs.get(task, TaskCost(task)).plus(steps, tokens, seconds)
    return Forecast(len(planned) - len(todo), list(costs.values()), unknown, basis)


def rows_and_length(experiment: Experiment) -> tuple[int, float]:
    """Training rows, and their mean length in tokens, source and target; at most the limit without a tokenizer.

    Raises:
        InputError: the task's rows are not at hand.
    """
    tasks, folder = resolve_tasks(experiment.task)
    found = [task.examples(folder)["train"] for task in tasks]
    rows = sum(min(len(examples), experiment.text.train_rows or len(examples)) for examples in found)
    samples = [examples[:: max(1, len(examples) // SAMPLE)] for examples in found]
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolve(experiment.backbone), trust_remote_code=False)
    except (OSError, ValueError, ImportError):
        return rows, float(experiment.text.source_length)
    kind = kind_of(load_config(experiment.backbone))
    encoded = [
        row
        for task, sample in zip(tasks, samples, strict=True)
        for row in encode(sample, task.form, tokenizer, experiment.text, kind)[0]
    ]
    return rows, statistics.mean(len(row.source) + len(row.target) for row in encoded)


def seconds_a_token(folder: Path) -> tuple[float, str]:
    """Seconds for each token and parameter of the backbone, and where that is from."""
    found = [read_result(path.parent) for path in folder.glob(f"*/{RESULT}")]
    paces = [result.seconds / (result.padded_tokens * result.total) for result in found if result.padded_tokens]
    if paces:
        return statistics.median(paces), f"the {len(paces)} finished run(s) in {folder}"
    speed = multiplications_a_second()
    return FLOPS_A_PARAMETER / (0.5 * speed), f"half of this machine's {speed / 1e9:,.0f} GFLOP/s in matrix products"


def multiplications_a_second() -> float:
    """Floating-point operations a second in a product of two float32 matrices, the best of five."""
    device = default_device()
    matrix = torch.randn(1024, 1024, device=device)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        (matrix @ matrix).sum().item()
        times.append(time.perf_counter() - start)
    return float(2 * 1024**3 / min(times))
