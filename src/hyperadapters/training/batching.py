"""Which rows make a batch: pure functions of lengths, seed and epoch."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_SORTED_TOGETHER = 64
"""Batches whose rows are sorted by length together: many enough for little padding, few enough for random order."""


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return row numbers in batches of like length, the longest first, so that running out of memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return one epoch's batches of row numbers: random, yet of like length; a pure function of its arguments.

    Rows are shuffled, sorted by length within groups of 64 batches, cut into batches, and the batches shuffled.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return _grouped(torch.randperm(len(lengths), generator=generator).tolist(), lengths, batch_size, generator)


def _mixed_batches(
    lengths: Sequence[int], sizes: Sequence[int], temperature: float, batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Return one epoch's batches of a mixture: as many rows as all tasks have together, drawn with replacement.

    A row is of a task with p ∝ (N/ΣN)^(1/T) (HyperFormer, arXiv:2106.04489v1, §3), so a batch holds several tasks.
    A pure function of its arguments: the same on every process, and after an interruption.

    Args:
        lengths: of the rows of all tasks, one task after the other.
        sizes: rows of each task.
        temperature: T; 1 draws tasks by their size, a large T all alike.
        batch_size: rows of a batch.
        seed: the run's seed.
        epoch: counts from 0.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    ends = torch.tensor(sizes).cumsum(0)
    shares = _mixing_shares(sizes, temperature)
    tasks = torch.multinomial(shares, int(ends[-1]), replacement=True, generator=generator)
    counts = torch.tensor(sizes)[tasks]
    places = (torch.rand(len(tasks), generator=generator, dtype=torch.float64) * counts).long()
    return _grouped((ends[tasks] - counts + places).tolist(), lengths, batch_size, generator)


def _mixing_shares(sizes: Sequence[int], temperature: float) -> Float[Tensor, " tasks"]:
    """Return the probability of each task: p ∝ (N/ΣN)^(1/T)."""
    shares = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    return torch.softmax((shares / shares.max()).log() / temperature, dim=0)


def _grouped(
    order: Sequence[int], lengths: Sequence[int], batch_size: int, generator: torch.Generator
) -> list[list[int]]:
    """Return rows of an order, sorted by length within groups of 64 batches, cut into batches, which are shuffled."""
    group = _SORTED_TOGETHER * batch_size
    batches = []
    for start in range(0, len(order), group):
        rows = sorted(order[start : start + group], key=lambda i: lengths[i])
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
