"""Answers and their scores."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import nn

from hyperadapters._utils import InputError, Meter, short_names
from hyperadapters.delta import Delta
from hyperadapters.tasks import INVALID, TaskFormat
from hyperadapters.training.batching import batches_by_length
from hyperadapters.training.config import Evaluation
from hyperadapters.training.data import Data, Mixture
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encodings import ENCODINGS


@dataclass(frozen=True)
class Scores:
    """What an evaluation found."""

    metrics: dict[str, float]
    invalid: float
    """Share of answers that are none of the task's."""
    decode: str
    """How the answers were obtained: score or generate."""
    seconds: float
    answers: list[str]

    @property
    def mean(self) -> float:
        """Mean of the task's metrics, by which models are selected (Compacter, §4.1)."""
        return sum(self.metrics.values()) / len(self.metrics)


@contextmanager
def evaluating(backbone: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients."""
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        backbone.train(was_training)


def evaluate(
    delta: Delta, data: Data | Mixture, split: str = "test", evaluation: Evaluation | None = None, *, quiet: bool = True
) -> Scores:
    """Score a Delta on one split of a task, or of each task of a mixture; unless `quiet`, progress is shown.

    A mixture's metrics are named `task.metric`, by the last part of the task's name where it is unique; a task without
    that split is left out.

    Raises:
        InputError: the data has no such split or is for another kind of backbone, or label strings cannot be scored
            for this task, or the Delta holds several tasks and not this one.
    """
    if isinstance(data, Data):
        return evaluate_task(delta, data, split, evaluation, quiet=quiet)
    parts = [part for part in data.tasks if split in part.splits]
    if not parts:
        known = dict.fromkeys(name for part in data.tasks for name in part.splits)
        raise InputError(f"none of the tasks has a {split} split; they have {', '.join(known)}.")
    names = short_names([part.form.name for part in data.tasks])
    found = {names[p.form.name]: evaluate_task(delta, p, split, evaluation, quiet=quiet) for p in parts}
    return Scores(
        metrics={f"{task}.{name}": value for task, one in found.items() for name, value in one.metrics.items()},
        invalid=sum(one.invalid for one in found.values()) / len(found),
        decode=", ".join(dict.fromkeys(one.decode for one in found.values())),
        seconds=sum(one.seconds for one in found.values()),
        answers=[answer for one in found.values() for answer in one.answers],
    )


def of_task(delta: Delta, form: TaskFormat) -> AbstractContextManager[Any]:
    """The context in which all rows use this task's adapter; nothing where the Delta has but one for all."""
    return delta.rows(form.name) if delta.tasks else nullcontext()


def evaluate_task(
    delta: Delta, data: Data, split: str = "test", evaluation: Evaluation | None = None, *, quiet: bool = True
) -> Scores:
    """`evaluate` for one task, with the adapter of that task where the Delta holds several."""
    check_kind(delta, data)
    if split not in data.splits:
        raise InputError(f"the data has no {split} split; it has {', '.join(data.splits)}.")
    start = time.perf_counter()
    evaluation = evaluation or Evaluation()
    rows = data.splits[split]
    batches = math.ceil(len(rows) / evaluation.batch_size)
    with Meter(f"evaluate {split}", batches, quiet=quiet) as meter, of_task(delta, data.form):
        answers = answer(delta, rows, data.form, data.tokenizer, data.text.target_length, evaluation, meter)
    return scored(data, split, answers, evaluation, time.perf_counter() - start)


def scored(data: Data, split: str, answers: list[str], evaluation: Evaluation, seconds: float) -> Scores:
    """The scores of the answers to all rows of a split, in order, which were found in so many seconds."""
    predictions = [data.form.target.decode(text) for text in answers]
    return Scores(
        metrics={metric.__name__: metric(predictions, data.references[split]) for metric in data.metrics},
        invalid=sum(p is None or p == INVALID for p in predictions) / len(predictions),
        decode=ENCODINGS[data.kind].mode(data.form, evaluation.decode),
        seconds=seconds,
        answers=answers,
    )


def check_kind(delta: Delta, data: Data) -> None:
    """Raise InputError if rows are in tokens for another kind of backbone, the head is of another size, or it rests."""
    delta.check_in_use()
    kind = delta.structure.kind
    if data.kind != kind:
        raise InputError(
            f"the data is for an {data.kind}, but the backbone is of the kind {kind}: load_data(..., kind={kind!r})."
        )
    outputs = ENCODINGS[kind].outputs(data.form)
    if outputs != delta.outputs:
        raise InputError(
            f"task {data.form.name} needs a head of {outputs} output(s), the Delta has {delta.outputs}: "
            f"attach(..., outputs={outputs})."
        )


def answer(
    delta: Delta,
    rows: Sequence[Encoded],
    form: TaskFormat,
    tokenizer: Any,
    target_length: int,
    evaluation: Evaluation,
    meter: Meter,
) -> list[str]:
    """The answer to every row, in order. Rows of like length are computed together, on all processes."""
    kind = ENCODINGS[delta.structure.kind]
    mode = kind.mode(form, evaluation.decode)
    state = PartialState()
    batches = batches_by_length([kind.length(row) for row in rows], evaluation.batch_size)
    found: list[tuple[int, str]] = []
    with evaluating(delta.backbone):
        for numbers in batches[state.process_index :: state.num_processes]:
            batch = [rows[i] for i in numbers]
            texts = kind.answer(
                delta.backbone, batch, [form] * len(batch), tokenizer, mode, target_length, evaluation.beams
            )
            found += zip(numbers, texts, strict=True)
            meter.advance(len(numbers), "")
    if state.num_processes > 1:
        found = gather_object(found)
    return [text for _, text in sorted(found)]
