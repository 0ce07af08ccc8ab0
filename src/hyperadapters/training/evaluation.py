"""Scoring a Delta: the answers to the rows of a split, and the task's metrics of them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hyperadapters._utils import InputError, Meter, html_table, mean_score, metric_scale, process_state, short_names
from hyperadapters.backbones import device_of, head_kind_of
from hyperadapters.delta import Delta
from hyperadapters.tasks import INVALID, OF_PROBABILITIES, Metric, TaskFormat, metric_named
from hyperadapters.training.answering import evaluating, in_row_order
from hyperadapters.training.batching import answer_batches
from hyperadapters.training.config import Evaluation
from hyperadapters.training.data import Data, Mixture, tasks_of
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.label_strings import label_probabilities
from hyperadapters.training.task_adapters import using_tasks

_TIE = 1e-9
"""The weight of the other metrics between weights that are equal in those that choose."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Scores:
    """What an evaluation found."""

    metrics: dict[str, float]
    """By the name of the metric; of a mixture, `task.metric`. Shares, not percent; errors such as `rmse` in the
    numbers' unit."""
    invalid: float
    """Share of answers that are none of the task's."""
    decode: str
    """How the answers were obtained: score or generate."""
    seconds: float
    answers: list[str]
    """In the order of the rows, those of a mixture one task after the other."""
    chosen_by: tuple[str, ...] = ()
    """Names of the metrics that choose the best weights; none: all."""

    def __repr__(self) -> str:
        """Return the metrics and the number of answers, not the answers."""
        found = ", ".join(f"{name}={value:.4f}" for name, value in self.metrics.items())
        return f"Scores({found}, invalid={self.invalid:.4f}, decode={self.decode!r}, rows={len(self.answers)})"

    def _repr_html_(self) -> str:
        """Return the same as a table for notebooks."""
        return html_table(
            f"Scores of {len(self.answers):,} rows, {self.decode}", {**self.metrics, "invalid": self.invalid}
        )

    @property
    def mean(self) -> float:
        """The mean of the task's metrics (Compacter, §4.1), or of those that choose the best weights: `mean_score`."""
        return mean_score(self._chosen)

    @property
    def rank(self) -> float:
        """By which the best weights are chosen: the mean and, between weights equal in it, the other metrics.

        These weigh next to nothing. They are left out where the mean is no share of answers.
        """
        others = {n: v for n, v in self.metrics.items() if n not in self._chosen and metric_scale(n).share}
        shares = any(metric_scale(name).share for name in self._chosen)
        return self.mean + _TIE * mean_score(others) if others and shares else self.mean

    @property
    def _chosen(self) -> dict[str, float]:
        """The metrics that choose the best weights."""
        return {name: value for name, value in self.metrics.items() if name in (self.chosen_by or self.metrics)}


def evaluate(
    delta: Delta, data: Data | Mixture, split: str = "test", evaluation: Evaluation | None = None, *, quiet: bool = True
) -> Scores:
    """Score a Delta on one split of a task, or of each task of a mixture.

    A mixture's metrics are named `task.metric`, by the last part of the task's name where it is unique; a task without
    that split is left out.

    Args:
        delta: in use on its backbone; of a Delta that holds several tasks, the adapter of each task answers its rows.
        data: what `load_data` gave, or a `Mixture` of several.
        split: train, validation or test.
        evaluation: how answers are obtained; None: `Evaluation()`.
        quiet: show no progress.

    Raises:
        InputError: the data has no such split or is for another kind of backbone, label strings cannot be scored for
            this task, the Delta is at rest, or it holds several tasks and not this one.
    """
    evaluation = evaluation or Evaluation()
    if isinstance(data, Data):
        return _evaluate_task(delta, data, split, evaluation, quiet=quiet)
    tasks = [task for task in data.tasks if split in task.splits]
    if not tasks:
        known = dict.fromkeys(name for task in data.tasks for name in task.splits)
        raise InputError(f"none of the tasks has a {split} split; they have {', '.join(known)}.")
    names = short_names([task.form.name for task in data.tasks])
    found = {names[t.form.name]: _evaluate_task(delta, t, split, evaluation, quiet=quiet) for t in tasks}
    return Scores(
        metrics={f"{task}.{name}": value for task, one in found.items() for name, value in one.metrics.items()},
        invalid=sum(one.invalid for one in found.values()) / len(found),
        decode=", ".join(dict.fromkeys(one.decode for one in found.values())),
        seconds=sum(one.seconds for one in found.values()),
        answers=[answer for one in found.values() for answer in one.answers],
        chosen_by=tuple(f"{task}.{name}" for task, one in found.items() for name in one.chosen_by or one.metrics),
    )


def _evaluate_task(delta: Delta, data: Data, split: str, evaluation: Evaluation, *, quiet: bool) -> Scores:
    """Score a Delta on one split of one task."""
    _check_kind(delta, data)
    if split not in data.splits:
        raise InputError(f"the data has no {split} split; it has {', '.join(data.splits)}.")
    start = time.perf_counter()
    rows = data.splits[split]
    with Meter(f"evaluate {split}", 0, quiet=quiet) as meter:
        answers = answer_rows(delta, rows, data.form, data.tokenizer, data.text.target_length, evaluation, meter)
    shares: list[list[float]] = []
    if _needs_probabilities(data, evaluation):
        found = probabilities_of_rows(delta, rows, data.form, data.tokenizer, evaluation.batch_size)
        shares = [[row[label] for label in data.form.target.texts] for row in found]  # type: ignore[attr-defined]
    return score_answers(data, split, answers, evaluation, time.perf_counter() - start, shares)


def answer_rows(
    delta: Delta,
    rows: Sequence[Encoded],
    form: TaskFormat,
    tokenizer: Any,
    target_length: int,
    evaluation: Evaluation,
    meter: Meter | None = None,
) -> list[str]:
    """Return the answer to every row of one task, in order; rows of like length share a batch.

    Args:
        delta: in use on its backbone.
        rows: rows in tokens, shared out over all processes.
        form: the task's form.
        tokenizer: the backbone's tokenizer.
        target_length: most tokens of a generated answer.
        evaluation: how answers are obtained.
        meter: is given the number of batches, and advanced by the rows of each; None: no progress is shown.
    """
    encoding = ENCODINGS[delta.structure.kind]
    decoding = encoding.decoding(form, target_length, evaluation)

    def answer(batch: list[Encoded]) -> list[str]:
        return encoding.answer(delta.backbone, batch, [form] * len(batch), tokenizer, decoding)

    return _by_batch(delta, rows, form, answer, evaluation.batch_size, mode=decoding.mode, meter=meter)


def probabilities_of_rows(
    delta: Delta, rows: Sequence[Encoded], form: TaskFormat, tokenizer: Any, batch_size: int, top: int | None = None
) -> list[dict[str, float]]:
    """Return the labels of every row of one task with their probabilities, the likeliest first, in order of the rows.

    Of an encoder they are the softmax of its logits, or the sigmoid where a row has any number of labels; of a backbone
    that answers in text, the softmax over the log-probabilities of the label strings.

    Args:
        delta: in use on its backbone.
        rows: rows in tokens, shared out over all processes.
        form: the task's form, whose answers are labels.
        tokenizer: the backbone's tokenizer.
        batch_size: rows computed together.
        top: how many labels of each row to return at most; None: all.
    """
    encoding = ENCODINGS[delta.structure.kind]

    def answer(batch: list[Encoded]) -> list[dict[str, float]]:
        forms = [form] * len(batch)
        return label_probabilities(encoding.score_labels(delta.backbone, batch, forms, tokenizer), forms, top)

    return _by_batch(delta, rows, form, answer, batch_size, mode="score")


def _by_batch(
    delta: Delta,
    rows: Sequence[Encoded],
    form: TaskFormat,
    answer: Callable[[list[Encoded]], list[_T]],
    batch_size: int,
    *,
    mode: str,
    meter: Meter | None = None,
) -> list[_T]:
    """Return what a function finds for each row of one task, in order; rows of like length share a batch."""
    encoding, state = ENCODINGS[delta.structure.kind], process_state()

    def answer_batch(numbers: Sequence[int]) -> list[_T]:
        answers = answer([rows[i] for i in numbers])
        if meter:
            meter.advance(len(numbers), "")
        return answers

    lengths = [encoding.length(row) for row in rows]
    batches = answer_batches(lengths, batch_size, mode, device_of(delta.backbone))
    if meter:
        meter.expect(len(batches))
    own = batches[state.process_index :: state.num_processes]
    with evaluating(delta.backbone), using_tasks(delta, form.name):
        return in_row_order([(numbers, answer_batch(numbers)) for numbers in own], processes=state.num_processes)


def _needs_probabilities(data: Data, evaluation: Evaluation) -> bool:
    """Return whether a metric of a task takes the probabilities of classes, not the answers."""
    return any(metric in OF_PROBABILITIES for metric in _chosen_metrics(data, evaluation)[0])


def score_answers(
    data: Data,
    split: str,
    answers: list[str],
    evaluation: Evaluation,
    seconds: float,
    shares: Sequence[Sequence[float]] = (),
) -> Scores:
    """Return the scores of the answers to all rows of a split, in order.

    Args:
        data: what was answered.
        split: its name.
        answers: of all rows.
        evaluation: how they were obtained.
        seconds: that it took to find them.
        shares: of each row, the probabilities of the task's classes; where `_needs_probabilities`.
    """
    predictions = [data.form.target.decode(text) for text in answers]
    metrics, chosen_by = _chosen_metrics(data, evaluation)
    return Scores(
        metrics={
            metric.__name__: metric(shares if metric in OF_PROBABILITIES else predictions, data.references[split])
            for metric in metrics
        },
        invalid=sum(map(_is_invalid, predictions)) / len(predictions),
        decode=ENCODINGS[data.kind].mode(data.form, evaluation.decode),
        seconds=seconds,
        answers=answers,
        chosen_by=tuple(metric.__name__ for metric in chosen_by),
    )


def _chosen_metrics(data: Data, evaluation: Evaluation) -> tuple[tuple[Metric, ...], tuple[Metric, ...]]:
    """Return the metrics of a task, and those of them that choose the best weights.

    Raises:
        InputError: `evaluation.metric` is none for these answers.
    """
    if not evaluation.metric:
        return data.metrics, data.chosen_by
    chosen = metric_named(evaluation.metric, data.form.target, data.metrics)
    others = tuple(metric for metric in data.metrics if metric.__name__ != chosen.__name__)
    return (chosen, *others) if chosen not in data.metrics else data.metrics, (chosen,)


def metrics_of(data: Data, evaluation: Evaluation) -> tuple[Metric, ...]:
    """Return the metrics of a task with the one that chooses the best weights; errors as `evaluate`."""
    return _chosen_metrics(data, evaluation)[0]


def check_metric(data: Data | Mixture, evaluation: Evaluation) -> None:
    """Raise InputError if `evaluation.metric` cannot be computed for the answers of a task.

    A function of the user's is called once, with right answers: what is wrong with it is found before training.
    """
    for task in tasks_of(data):
        _, chosen = _chosen_metrics(task, evaluation)
        if ":" in evaluation.metric:
            (metric,), references = chosen, task.references["validation"]
            metric(references, references)


def _is_invalid(prediction: Any) -> bool:
    """Return whether an answer, or one of the labels that it lists, is none of the task's."""
    return prediction is None or prediction == INVALID or (isinstance(prediction, tuple) and INVALID in prediction)


def _check_kind(delta: Delta, data: Data) -> None:
    """Raise InputError if the Delta is at rest, or the data is for another kind of backbone or size of head."""
    delta.check_in_use()
    kind = delta.structure.kind
    if data.kind != kind:
        raise InputError(
            f"the data is for an {data.kind}, but the backbone is of the kind {kind}: "
            "load_data(..., backbone=delta.backbone)."
        )
    head = ENCODINGS[kind].head(data.form)
    if delta.outputs is not None and head != head_kind_of(delta.backbone):
        raise InputError(
            f"task {data.form.name} needs a backbone whose head reads each {head}, this one's reads each "
            f"{head_kind_of(delta.backbone)}: load_backbone(..., head={head!r})."
        )
    outputs = ENCODINGS[kind].outputs(data.form)
    found = delta.outputs_of(data.form.name)
    if outputs != found:
        raise InputError(
            f"task {data.form.name} needs a head of {outputs} output(s), the Delta has {found}: attach(..., "
            f"outputs={outputs}), or one number for each task."
        )
