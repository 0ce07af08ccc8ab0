"""Answers and their scores: by the likeliest label string in one decoder pass, or by generation."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from hyperadapters.data import IGNORED, Data, Encoded, batches_by_length, collate, padded
from hyperadapters.errors import InputError
from hyperadapters.experiment import Evaluation
from hyperadapters.methods.delta import Delta
from hyperadapters.metrics import INVALID
from hyperadapters.progress import Meter
from hyperadapters.tasks.task import Form, Labels


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
def evaluating(backbone: nn.Module) -> Iterator[torch.device]:
    """Evaluation mode without gradients; yields the backbone's device."""
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            yield next(backbone.parameters()).device
    finally:
        backbone.train(was_training)


def evaluate(
    delta: Delta, data: Data, split: str = "test", evaluation: Evaluation | None = None, *, quiet: bool = True
) -> Scores:
    """Score a Delta on one split of a task; unless `quiet`, progress is shown.

    Raises:
        InputError: the data has no such split, or label strings cannot be scored for this task.
    """
    if split not in data.splits:
        raise InputError(f"the data has no {split} split; it has {', '.join(data.splits)}.")
    start = time.perf_counter()
    evaluation = evaluation or Evaluation()
    rows = data.splits[split]
    batches = math.ceil(len(rows) / evaluation.batch_size)
    with Meter(f"evaluate {split}", batches, quiet=quiet) as meter:
        answers = answer(delta, rows, data.form, data.tokenizer, data.text.target_length, evaluation, meter)
    decode = data.form.target.decode
    predictions = [decode(text) for text in answers]
    return Scores(
        metrics={metric.__name__: metric(predictions, data.references[split]) for metric in data.metrics},
        invalid=sum(p is None or p == INVALID for p in predictions) / len(predictions),
        decode=decoding(evaluation, data.form),
        seconds=time.perf_counter() - start,
        answers=answers,
    )


def decoding(evaluation: Evaluation, form: Form) -> str:
    """Score or generate.

    Raises:
        InputError: scoring is asked for where the answers are not labels.
    """
    labels = isinstance(form.target, Labels)
    if evaluation.decode == "score" and not labels:
        raise InputError(
            f"evaluation.decode=score needs labels, but the answers of {form.name} are "
            f"{form.target.expected()}. Use generate."
        )
    if evaluation.decode == "auto":
        return "score" if labels else "generate"
    return evaluation.decode


def answer(
    delta: Delta,
    rows: Sequence[Encoded],
    form: Form,
    tokenizer: Any,
    target_length: int,
    evaluation: Evaluation,
    meter: Meter,
) -> list[str]:
    """The answer to every row, in order. Rows of like length are computed together, on all processes."""
    mode = decoding(evaluation, form)
    state = PartialState()
    batches = batches_by_length([len(row.source) for row in rows], evaluation.batch_size)
    found: list[tuple[int, str]] = []
    with evaluating(delta.backbone) as device:
        for numbers in batches[state.process_index :: state.num_processes]:
            batch = collate([rows[i] for i in numbers], tokenizer.pad_token_id)
            source = {key: batch[key].to(device) for key in ("input_ids", "attention_mask")}
            if mode == "score":
                assert isinstance(form.target, Labels)
                likely = score_labels(delta.backbone, source, label_tokens(form.target, tokenizer)).argmax(-1)
                texts = [form.target.texts[i] for i in likely.tolist()]
            else:
                texts = generate(delta.backbone, source, tokenizer, target_length, evaluation.beams)
            found += zip(numbers, texts, strict=True)
            meter.advance(len(numbers), "")
    if state.num_processes > 1:
        found = gather_object(found)
    return [text for _, text in sorted(found)]


def generate(
    backbone: nn.Module, source: dict[str, Tensor], tokenizer: Any, target_length: int, beams: int
) -> list[str]:
    """The generated text of every row, without special tokens, stripped."""
    tokens = backbone.generate(  # type: ignore[operator]
        **source, max_new_tokens=target_length, num_beams=beams, do_sample=False
    )
    return [text.strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]


def label_tokens(labels: Labels, tokenizer: Any) -> Int[Tensor, "labels seq"]:
    """The label strings in tokens, ended by the end of the sequence, -100 where padded."""
    return padded(tokenizer(list(labels.texts)).input_ids, IGNORED)


def score_labels(
    backbone: nn.Module, source: dict[str, Tensor], labels: Int[Tensor, "labels seq"]
) -> Float[Tensor, "batch labels"]:
    """Log-probability of every label string for every row, from one pass of encoder and decoder."""
    batch, count = source["input_ids"].shape[0], labels.shape[0]
    encoded = backbone.get_encoder()(**source).last_hidden_state  # type: ignore[operator]
    targets = labels.to(encoded.device).repeat(batch, 1)
    logits = backbone(
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded.repeat_interleave(count, 0)),
        attention_mask=source["attention_mask"].repeat_interleave(count, 0),
        decoder_input_ids=backbone.prepare_decoder_input_ids_from_labels(labels=targets),  # type: ignore[operator]
    ).logits
    chosen = logits.float().log_softmax(-1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    total: Tensor = chosen.masked_fill(targets == IGNORED, 0.0).sum(-1).view(batch, count)
    return total
