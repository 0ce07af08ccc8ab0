"""Answers out of a closed set: the label strings of each row's task in tokens, and the likeliest of them."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperadapters.tasks import Labels, TaskFormat
from hyperadapters.training.tensors import _IGNORED, _pad_sequences

_LOGITS = 2**27
"""How many logits of label strings are made at a time: half a gigabyte in float32."""


def _labels_of(form: TaskFormat) -> tuple[str, ...]:
    """Return the label strings of a task that has some."""
    assert isinstance(form.target, Labels)
    return form.target.texts


def _label_tokens(
    forms: Sequence[TaskFormat], tokenize: Callable[[list[str]], list[list[int]]]
) -> Int[Tensor, "batch labels seq"]:
    """Return the label strings of every row in tokens; -100 where padded, and for labels that another row alone has."""
    sets = list(dict.fromkeys(_labels_of(form) for form in forms))
    most = max(len(texts) for texts in sets)
    rows = [tokens for texts in sets for tokens in (*tokenize(list(texts)), *[[]] * (most - len(texts)))]
    tokens = _pad_sequences(rows, _IGNORED)
    return tokens.view(len(sets), most, -1)[[sets.index(_labels_of(form)) for form in forms]]


def _label_chunks(
    backbone: nn.Module, batch: int, labels: Int[Tensor, "#batch labels seq"]
) -> tuple[Int[Tensor, "#batch _ seq"], ...]:
    """Split label strings into chunks whose logits, for `batch` rows, are at most `LOGITS` numbers."""
    vocabulary = backbone.config.get_text_config().vocab_size  # type: ignore[union-attr, operator]
    return torch.split(labels, max(1, _LOGITS // (batch * labels.shape[2] * vocabulary)), dim=1)


def _likeliest(scores: Float[Tensor, "batch labels"], forms: Sequence[TaskFormat]) -> list[str]:
    """Return the label string with the highest score of each row, among those of its task."""
    counts = torch.tensor([len(_labels_of(form)) for form in forms], device=scores.device)
    others = torch.arange(scores.shape[1], device=scores.device) >= counts.unsqueeze(-1)
    best = scores.masked_fill(others, -math.inf).argmax(-1).tolist()
    return [_labels_of(form)[i] for i, form in zip(best, forms, strict=True)]
