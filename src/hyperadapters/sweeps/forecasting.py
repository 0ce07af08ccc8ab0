"""What a sweep will cost, before it starts: runs, steps, tokens, and hours from what a few steps take here."""

import math
import os
import statistics
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import AutoTokenizer

from hyperadapters._utils import InputError
from hyperadapters.backbones import (
    EMBEDDED,
    default_device,
    enable_checkpointing,
    kind_of,
    load_config,
    resolve_location,
)
from hyperadapters.delta import method_to_json
from hyperadapters.runs import (
    RESULT,
    Experiment,
    MixtureTask,
    Result,
    attach_for,
    backbone_for,
    label_of,
    read_result,
    task_definitions,
    task_name,
)
from hyperadapters.sweeps.jobs import Job, settled
from hyperadapters.sweeps.keys import experiment_key
from hyperadapters.training import (
    ENCODINGS,
    Data,
    Encoded,
    Mixture,
    batches_by_length,
    encode,
    evaluate,
    limited,
    median_seconds,
    parameters_of,
    tasks_of,
    training_rows,
    training_step,
)

SAMPLE = 512
"""Rows of a split whose lengths stand for all."""

TIMED_SECONDS = 10.0
"""Methods are timed for so long in all; those that are left take the median of the others."""

LONGEST_STEP = 2.0
"""A step that takes longer than so many seconds is timed with fewer rows, or not at all."""

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
    failed: int
    """Runs that failed for good or left a damaged result, which the sweep leaves alone."""
    costs: list[TaskCost]
    """By task."""
    unknown: dict[str, str]
    """Task -> why its rows could not be counted; its runs are in no cost."""
    basis: list[str]
    """What the seconds are estimated from."""


def forecast(experiments: Sequence[Experiment], folder: Path, *, jobs: int = 1, retry: bool = False) -> Forecast:
    """Count what a sweep would do in `folder`. Seconds are those of one process out of `jobs` on this machine.

    They hold training and its evaluations, and come from finished runs of the same method and backbone in the folder,
    else from some steps and answers timed here, else (the backbone is not on this machine, or is too large for it)
    from how fast this machine multiplies matrices. Loading and a process's start come on top. With `retry`, what
    failed for good is to be tried again.
    """
    planned = {experiment_key(experiment): experiment for experiment in experiments}
    jobs_of = [Job(name, experiment.to_json(), str(folder), keep=False) for name, experiment in planned.items()]
    over = {job.key: report.outcome for job in jobs_of if (report := settled(job))}
    if retry:
        over = {name: outcome for name, outcome in over.items() if (folder / name / RESULT).exists()}
    todo = {name: experiment for name, experiment in planned.items() if name not in over}
    done = list(over.values()).count("done")
    paces = Paces(folder)
    samples: dict[Any, Sample] = {}
    costs: dict[str, TaskCost] = {}
    unknown: dict[str, str] = {}
    with threads_of_one(jobs):
        for experiment in todo.values():
            task = task_name(experiment.task)
            what = (experiment.task, experiment.text, experiment.backbone)
            try:
                samples[what] = sample = samples.get(what) or sampled(experiment)
            except InputError as error:
                unknown[task] = str(error)
                continue
            an_epoch = math.ceil(sample.rows["train"] / experiment.training.batch_size)
            steps = experiment.training.steps or experiment.training.epochs * an_epoch
            tokens = round(steps / an_epoch * sample.tokens("train"))
            seconds = paces.of(experiment, sample).seconds(tokens, answered_tokens(experiment, sample, steps))
            costs[task] = costs.get(task, TaskCost(task)).plus(steps, tokens, seconds)
    return Forecast(done, len(over) - done, list(costs.values()), unknown, paces.bases())


@contextmanager
def threads_of_one(jobs: int) -> Generator[None]:
    """As many threads as a process gets where so many share this machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, max(1, (os.cpu_count() or 1) // jobs)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Sample:
    """Some of a task's or mixture's rows, and how many there are."""

    data: Data | Mixture | None
    """None without a tokenizer."""
    rows: dict[str, int]
    """By split."""
    longest: int
    """The limit of a source."""

    def tokens(self, split: str) -> float:
        """Tokens of a split, source and target, by the mean of the sample; at most the limit without a tokenizer."""
        if split not in self.rows:
            return 0.0
        if self.data is None:
            return float(self.rows[split] * self.longest)
        lengths = [tokens_of(row) for part in tasks_of(self.data) for row in part.splits.get(split, [])]
        return self.rows[split] * statistics.mean(lengths)


def tokens_of(row: Encoded) -> int:
    """Tokens of a row, source and target."""
    return len(row.source) + len(row.target)


def sampled(experiment: Experiment) -> Sample:
    """Evenly spaced rows of every split.

    Raises:
        InputError: the task's rows are not at hand.
    """
    tasks, folder = task_definitions(experiment.task)
    text, seed, mixed = experiment.text, experiment.training.seed, isinstance(experiment.task, MixtureTask)
    read = {task.form.name: task.examples(folder, prefix=text.prefix) for task in tasks}
    found = [limited(examples, text, name, seed, at_most=mixed) for name, examples in read.items()]
    rows = {split: sum(len(examples.get(split, [])) for examples in found) for split in set().union(*found)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolve_location(experiment.backbone), trust_remote_code=False)
    except (OSError, ValueError, ImportError):
        return Sample(None, rows, text.source_length)
    kind = kind_of(load_config(experiment.backbone))
    parts = []
    for task, examples in zip(tasks, found, strict=True):
        some = {split: every[:: max(1, len(every) // SAMPLE)] for split, every in examples.items()}
        encoded = {split: encode(part, task.form, tokenizer, text, kind)[0] for split, part in some.items()}
        references = {split: [row.reference for row in part] for split, part in some.items()}
        parts.append(Data(task.form, task.metrics, tokenizer, text, encoded, references, kind=kind))
    return Sample(Mixture(tuple(parts)) if mixed else parts[0], rows, text.source_length)


def answered_tokens(experiment: Experiment, sample: Sample, steps: int) -> float:
    """Tokens of all rows that a run answers: validation each time and at the end, the test rows once."""
    training = experiment.training
    every = training.evaluate_steps or (math.ceil(steps / 10) if training.steps else None)
    times = training.epochs if every is None else math.ceil(steps / every)
    return (times + 1) * sample.tokens("validation") + sample.tokens("test")


@dataclass(frozen=True)
class Pace:
    """How fast a run goes."""

    training: float
    """Seconds for each token of training."""
    answering: float
    """Seconds for each token of rows that are answered."""

    def seconds(self, trained: float, answered: float) -> float:
        """Of so many tokens."""
        return self.training * trained + self.answering * answered


class Paces:
    """The paces of a sweep's runs, found once for each method and backbone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.finished = finished(folder)
        self.timed: dict[Any, Pace] = {}
        self.seconds = 0.0
        self.speed = 0.0
        self.used: dict[str, list[str]] = {}
        """What an estimate rests on -> the backbones and methods that it is of."""

    def of(self, experiment: Experiment, sample: Sample) -> Pace:
        """The pace of a run, from the best that there is to tell it by."""
        backbone = experiment.backbone
        own = {"backbone": backbone, "method": method_to_json(experiment.method)}
        same = [r for r in self.finished if r.tokens and {name: r.experiment.get(name) for name in own} == own]
        if same:
            self.note(f"finished runs in {self.folder}", experiment)
            return Pace(statistics.median(r.seconds / r.tokens for r in same), 0.0)
        training = experiment.training
        types = (
            training.precision,
            training.backbone_precision,
            training.adapter_precision,
            training.gradient_checkpointing,
        )
        what = (backbone, label_of(experiment.method), training.batch_size, types, experiment.start)
        if what not in self.timed and sample.data is not None and is_local(backbone):
            others = [pace for (place, *_), pace in self.timed.items() if place == backbone]
            if others and self.seconds > TIMED_SECONDS:
                self.note("the median of the timed methods", experiment)
                return Pace(*map(statistics.median, zip(*map(astuple, others), strict=True)))
            self.time(what, experiment, sample.data)
        if what in self.timed:
            self.note("steps and answers timed here", experiment)
            return self.timed[what]
        self.note(f"half of this machine's {self.flops() / 1e9:,.0f} GFLOP/s in matrix products", experiment)
        a_token = FLOPS_A_PARAMETER * parameters_of(backbone, experiment.method).total / (0.5 * self.flops())
        return Pace(a_token, a_token / 3)

    def time(self, what: Any, experiment: Experiment, data: Data | Mixture) -> None:
        """Time some steps and answers, of fewer rows where a whole step would take too long."""
        start = time.monotonic()
        parameters = parameters_of(experiment.backbone, experiment.method).total
        row = statistics.mean(tokens_of(row) for row in training_rows(data))
        a_row = FLOPS_A_PARAMETER * parameters * row / (0.5 * self.flops())
        most = min(experiment.training.batch_size, int(LONGEST_STEP / a_row))
        if most:
            self.timed[what] = timed(experiment, data, most)
        self.seconds += time.monotonic() - start

    def flops(self) -> float:
        """Operations a second of this machine, measured once."""
        self.speed = self.speed or multiplications_a_second()
        return self.speed

    def note(self, basis: str, experiment: Experiment) -> None:
        """Remember what an estimate rests on."""
        of = f"{experiment.backbone} with {label_of(experiment.method)}"
        if of not in self.used.setdefault(basis, []):
            self.used[basis].append(of)

    def bases(self) -> list[str]:
        """What the estimates rest on, in words."""
        return [f"{basis}: {', '.join(of)}" for basis, of in self.used.items()]


def finished(folder: Path) -> list[Result]:
    """The results in a sweep's folder; one that cannot be read tells no pace."""
    found = []
    for path in folder.glob(f"*/{RESULT}"):
        with suppress(InputError):
            found.append(read_result(path.parent))
    return found


def is_local(backbone: str) -> bool:
    """Whether the weights are on this machine."""
    if backbone == EMBEDDED or Path(backbone).is_dir():
        return True
    return isinstance(try_to_load_from_cache(backbone, "model.safetensors"), str)


def timed(experiment: Experiment, data: Data | Mixture, most: int) -> Pace:
    """The pace of training on rows of middling length, and of answering as many validation rows."""
    device = default_device()
    backbone, tokenizer = backbone_for(experiment)
    if experiment.training.gradient_checkpointing:
        enable_checkpointing(backbone)
    delta = attach_for(experiment, backbone, data)
    kind = ENCODINGS[delta.anatomy.kind]
    rows = training_rows(data)
    batches = batches_by_length([kind.length(row) for row in rows], most)
    middle = [rows[number] for number in batches[(len(batches) - 1) // 2]]
    _, step = training_step(delta, middle, tokenizer.pad_token_id, experiment.training.precision)
    backbone.train()
    training = median_seconds(step, 2, device) / sum(map(tokens_of, middle))
    backbone.eval()
    few = [first_rows(part, most) for part in tasks_of(data)]
    answered = sum(tokens_of(row) for part in few for row in part.splits["validation"])
    seconds = sum(evaluate(delta, part, "validation", experiment.evaluation).seconds for part in few)
    return Pace(training, seconds / answered)


def first_rows(data: Data, most: int) -> Data:
    """The first of the validation rows alone."""
    rows, references = (found["validation"][:most] for found in (data.splits, data.references))
    return replace(data, splits={"validation": rows}, references={"validation": references})


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
