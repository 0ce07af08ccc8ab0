"""Answering in batches: the mode that the backbone is in, and answers back in the order of their rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from accelerate.utils import gather_object
from torch import nn

from hyperadapters.backbones import in_mode

_T = TypeVar("_T")


@contextmanager
def evaluating(backbone: nn.Module) -> Iterator[None]:
    """Put a backbone in evaluation mode, without gradients, inside this context."""
    with in_mode(backbone, training=False), torch.no_grad():
        yield


def in_row_order(batches: Sequence[tuple[Sequence[int], Sequence[_T]]], *, processes: int = 1) -> list[_T]:
    """Return answers that were found batch by batch in the order of their rows.

    Args:
        batches: the numbers of each batch's rows, and their answers.
        processes: how many processes have answered; with several, each gives its own batches and gets all answers.
    """
    answered = [pair for numbers, answers in batches for pair in zip(numbers, answers, strict=True)]
    if processes > 1:
        answered = gather_object(answered)
    return [answer for _, answer in sorted(answered, key=lambda pair: pair[0])]
