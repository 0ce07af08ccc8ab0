"""Answers out of a closed set: the label strings of each row's task in tokens, and the likeliest of them."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperadapters.tasks import Labels, LabelSet, TaskFormat
from hyperadapters.training.generated_text import _tokens_to_texts
from hyperadapters.training.tensors import _IGNORED, _pad_sequences, _precise

_LOGITS = 2**27
"""How many logits of label strings are made at a time: half a gigabyte in float32."""


def _labels_of(form: TaskFormat) -> tuple[str, ...]:
    """Return the label strings of a task that has some."""
    assert isinstance(form.target, Labels | LabelSet)
    return form.target.texts


def _read_labels(
    texts: Sequence[str], forms: Sequence[TaskFormat], tokenize: Callable[[list[str]], list[list[int]]], tokenizer: Any
) -> list[str]:
    """Return generated texts, each that reads as one of its task's labels does after the tokenizer as that label.

    A tokenizer may not give a label back as it is written: it may join spaces or compose characters.

    Args:
        texts: what was generated for each row.
        forms: the form of each row's task.
        tokenize: makes tokens of answers.
        tokenizer: makes texts of tokens.
    """
    written = {
        form: _written_labels(form, tokenize, tokenizer)
        for form in dict.fromkeys(forms)
        if isinstance(form.target, Labels)
    }
    return [written.get(form, {}).get(text, text) for text, form in zip(texts, forms, strict=True)]


def _written_labels(
    form: TaskFormat, tokenize: Callable[[list[str]], list[list[int]]], tokenizer: Any
) -> dict[str, str]:
    """Return a task's labels by what the tokenizer makes of their tokens; those that it makes the same are left out."""
    labels = _labels_of(form)
    tokens = _pad_sequences(tokenize([*labels]), tokenizer.pad_token_id)
    found = _tokens_to_texts(tokens, tokenizer)
    counts = Counter(found)
    apart = {text: label for text, label in zip(found, labels, strict=True) if counts[text] == 1}
    return {**apart, **{label: label for label in labels}}


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
    best = _own_labels(scores, forms).argmax(-1).tolist()
    return [_labels_of(form)[i] for i, form in zip(best, forms, strict=True)]


def _own_labels(scores: Float[Tensor, "batch labels"], forms: Sequence[TaskFormat]) -> Float[Tensor, "batch labels"]:
    """Return scores with -inf where a column is no label of the row's task."""
    counts = torch.tensor([len(_labels_of(form)) for form in forms], device=scores.device)
    others = torch.arange(scores.shape[1], device=scores.device) >= counts.unsqueeze(-1)
    return scores.masked_fill(others, -math.inf)


def label_probabilities(
    scores: Float[Tensor, "batch labels"], forms: Sequence[TaskFormat], top: int | None = None
) -> list[dict[str, float]]:
    """Return each row's labels with their probabilities, the likeliest first.

    Over all labels of a task they sum to 1, except where a row has any number of labels: there each has its own.

    Args:
        scores: of every label, as `score_labels` returns them.
        forms: the form of each row's task.
        top: how many labels of each row to return at most; None: all.
    """
    own_scores = _precise(_own_labels(scores, forms))
    several = torch.tensor([[isinstance(form.target, LabelSet)] for form in forms], device=scores.device)
    shares = torch.where(several, own_scores.sigmoid(), own_scores.softmax(-1))
    found, order = shares.sort(dim=-1, descending=True, stable=True)
    texts = [_labels_of(form) for form in forms]
    return [
        {own[i]: share for i, share in zip(numbers[: len(own)][:top], values, strict=False)}
        for own, numbers, values in zip(texts, order.tolist(), found.tolist(), strict=True)
    ]
