"""Batches of tokens as tensors, and losses over them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperadapters.backbones import device_of
from hyperadapters.training.encoded import Encoded

_IGNORED = -100
"""Label of a padded position, as in PyTorch's cross entropy."""


def _pad_sequences(
    rows: Sequence[Sequence[int] | Sequence[float]], value: int, side: str = "right"
) -> Int[Tensor, "batch seq"]:
    """Return rows as one tensor, filled up with `value` on one side.

    NumPy copies lists of numbers several times as fast as a tensor for each row.
    """
    longest = max(map(len, rows), default=0)
    together = np.full((len(rows), longest), value, dtype=np.int64)
    for padded, row in zip(together, rows, strict=True):
        start = longest - len(row) if side == "left" else 0
        padded[start : start + len(row)] = row
    return torch.from_numpy(together)


def _source_batch(sources: Sequence[Sequence[Any]], pad: int, side: str = "right") -> dict[str, Int[Tensor, "batch _"]]:
    """Return the `input_ids` and `attention_mask` of sources."""
    lengths = np.array([len(source) for source in sources])[:, None]
    places = np.arange(lengths.max())
    mask = places >= lengths.max() - lengths if side == "left" else places < lengths
    return {"input_ids": _pad_sequences(sources, pad, side), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def _collate(rows: Sequence[Encoded], pad: int) -> dict[str, Int[Tensor, "batch _"]]:
    """Return a text-to-text batch: `input_ids`, `attention_mask`, and `labels` with -100 where padded."""
    return {
        **_source_batch([row.source for row in rows], pad),
        "labels": _pad_sequences([row.target for row in rows], _IGNORED),
    }


def _on_device(batch: dict[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Return a batch on the device where a pass through the backbone begins."""
    device = device_of(backbone)
    return {key: value.to(device) for key, value in batch.items()}


def _precise(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return logits in float32, or in float64 if they are: what losses and probabilities are computed in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _row_cross_entropy(
    logits: Float[Tensor, "batch seq vocab"], labels: Int[Tensor, "batch seq"], smoothing: float
) -> Float[Tensor, " batch"]:
    """Return each row's cross entropy with smoothed labels, summed over its labels that are not -100."""
    each = F.cross_entropy(
        _precise(logits).flatten(0, 1),
        labels.flatten(),
        ignore_index=_IGNORED,
        reduction="none",
        label_smoothing=smoothing,
    )
    return each.view(labels.shape).sum(-1)


def _target_losses(
    scores: Sequence[Float[Tensor, "targets classes"]], targets: Sequence[Sequence[Any]], smoothing: float
) -> Float[Tensor, " rows"]:
    """Return the cross entropy of each row's targets, summed over them; 0 for a row without any.

    Args:
        scores: of each row, those of the classes of each target; of a row without targets, any of its logits.
        targets: of each row.
        smoothing: of the labels.
    """
    each = [
        F.cross_entropy(own, torch.tensor(target, device=own.device), reduction="sum", label_smoothing=smoothing)
        if target
        else 0.0 * own.sum()
        for own, target in zip(scores, targets, strict=True)
    ]
    return torch.stack(each)


def _summed_log_probability(
    logits: Float[Tensor, "rows seq vocab"], targets: Int[Tensor, "rows seq"]
) -> Float[Tensor, " rows"]:
    """Return the log-probability of each row's targets, leaving out those that are -100."""
    chosen = _precise(logits).log_softmax(-1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return chosen.masked_fill(targets == _IGNORED, 0.0).sum(-1)
