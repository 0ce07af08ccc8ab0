"""Dropout whose random masks are cheap to draw on a CPU."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int16
from torch import Tensor, nn

_LEVELS = 2**16
"""Number of values of the 16-bit random number that decides whether an element is dropped."""


class Stream(NamedTuple):
    """Consecutive rows of a batch, and the generator that their noise is drawn from."""

    rows: int
    generator: torch.Generator


_streams: list[Stream] = []
"""The streams in use, which together cover the rows of a batch. Empty: noise comes from torch's global generator."""


@contextmanager
def drawing_from(chosen: Sequence[Stream]) -> Iterator[None]:
    """Draw the noise of consecutive rows of a batch from these streams, inside this context.

    The rows of one stream get the noise that they would get as a batch of their own, with torch's global generator in
    the state of the stream's generator.

    Args:
        chosen: the streams, in the order of the rows.
    """
    _streams[:] = chosen
    try:
        yield
    finally:
        _streams.clear()


def _dropout_noise(like: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """Draw independent noise: 0 with probability q, else 1 / (1 − q), with q = p rounded to a multiple of 2⁻¹⁶.

    Four elements share one 64-bit word of torch's global generator. The noise therefore depends on `manual_seed` and
    on earlier draws alone, and restoring the generator's state (checkpoints, `fork_rng`, gradient checkpointing)
    repeats it. PyTorch's own dropout draws one word per element, one after the other, on processors for which it has
    no MKL kernel.

    Args:
        like: gives the noise's shape and dtype; its first axis holds the rows.
        p: the probability that an element is dropped.

    Raises:
        ValueError: `p` is not a probability that is below 1 after rounding.
    """
    dropped = round(p * _LEVELS)
    if not 0 <= dropped < _LEVELS:
        raise ValueError(f"dropout_noise(p={p}): p must be a probability, 0 or more and below 1.")
    number = _numbers_for(like).view(like.shape).float().add_(_LEVELS // 2)
    kept = number.sub_(dropped - 1).clamp_(0, 1)  # whole numbers, so 0 where number < dropped and 1 elsewhere
    return kept.mul_(_LEVELS / (_LEVELS - dropped)).to(like.dtype)


def _numbers_for(batch: Tensor) -> Int16[Tensor, " count"]:
    """Draw a random number for every element, each row's from its own stream.

    The first axis holds the rows, or their tokens one row after the other. A tensor that rows share, whose first axis
    is no multiple of the number of rows, is drawn from torch's global generator.
    """
    rows = sum(stream.rows for stream in _streams)
    if not rows or len(batch) % rows:
        return _numbers(batch.numel())
    per_row = batch.numel() // rows
    return torch.cat([_numbers(stream.rows * per_row, stream.generator) for stream in _streams])


def _numbers(count: int, generator: torch.Generator | None = None) -> Int16[Tensor, " count"]:
    """Draw `count` random 16-bit numbers, four from each 64-bit word."""
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return words.view(torch.int16)[:count]


def fast_dropout(x: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """Apply dropout to `x` as in training: x ⊙ noise, 0 with probability p and 1 / (1 − p) otherwise.

    PyTorch's own dropout is used on other devices than a CPU, and under `torch.compile`, which fuses it.

    Args:
        x: activations, with the rows on the first axis.
        p: the probability that an element is dropped.

    Raises:
        ValueError: `p` is not a probability below 1.
    """
    if p == 0:
        return x
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return nn.functional.dropout(x, p)
    return x * _dropout_noise(x, p)


class FastDropout(nn.Dropout):
    """`nn.Dropout` that computes with `fast_dropout`. Neither holds tensors, so one can replace the other."""

    def forward(self, input: Tensor) -> Tensor:
        return fast_dropout(input, self.p) if self.training else input
