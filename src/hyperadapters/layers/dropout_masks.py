"""Dropout whose masks cost little on a CPU."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int16
from torch import Tensor, nn

LEVELS = 2**16
"""Values of the random number that decides over one element."""


class Stream(NamedTuple):
    """Some consecutive rows of a batch, and the generator that their noise is drawn from."""

    rows: int
    generator: torch.Generator


streams: list[Stream] = []
"""What noise is drawn from; with none, from torch's global generator."""


@contextmanager
def drawing_from(chosen: Sequence[Stream]) -> Iterator[None]:
    """Inside this context the rows of a batch take their noise from these streams, one after the other.

    Rows that are a batch by themselves, with the global generator in the same state, get the same noise.
    """
    streams[:] = chosen
    try:
        yield
    finally:
        streams.clear()


def dropout_noise(like: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """Independent noise: 0 with probability q, 1 / (1 − q) otherwise, q being `p` rounded to a multiple of 2⁻¹⁶.

    Four elements share one 64-bit word of torch's global generator, so the noise is a function of `manual_seed` and
    of what was drawn before, and whoever saves and restores that generator's state gets it again: checkpoints,
    `fork_rng`, gradient checkpointing. PyTorch itself draws one word an element, one after the other (on processors
    where it has no MKL kernel for it).

    Raises:
        ValueError: `p` is no probability below 1, after rounding.
    """
    dropped = round(p * LEVELS)
    if not 0 <= dropped < LEVELS:
        raise ValueError(f"dropout_noise(p={p}): a probability from 0 to below 1.")
    number = numbers_for(like).view(like.shape).float().add_(LEVELS // 2)
    kept = number.sub_(dropped - 1).clamp_(0, 1)  # whole numbers, so 0 where number < dropped and 1 elsewhere
    return kept.mul_(LEVELS / (LEVELS - dropped)).to(like.dtype)


def numbers_for(batch: Tensor) -> Int16[Tensor, " count"]:
    """A random number for every element, each row's from its own stream; for what rows share, the global generator's.

    A row may stand for one of the batch's, or, where these lie end to end, for one of its tokens.
    """
    rows = sum(stream.rows for stream in streams)
    if not rows or len(batch) % rows:
        return numbers(batch.numel())
    each = batch.numel() // rows
    return torch.cat([numbers(stream.rows * each, stream.generator) for stream in streams])


def numbers(count: int, generator: torch.Generator | None = None) -> Int16[Tensor, " count"]:
    """Random 16-bit numbers, four out of each word."""
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return words.view(torch.int16)[:count]


def fast_dropout(x: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """Dropout of `x`, in training: PyTorch's while compiling, where it is fused, and elsewhere than on a CPU."""
    if p == 0:
        return x
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return nn.functional.dropout(x, p)
    return x * dropout_noise(x, p)


class FastDropout(nn.Dropout):
    """`nn.Dropout` by `fast_dropout`. It holds no tensors, so one can stand in for the other."""

    def forward(self, input: Tensor) -> Tensor:
        return fast_dropout(input, self.p) if self.training else input
