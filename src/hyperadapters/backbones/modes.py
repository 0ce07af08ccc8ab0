"""Training and evaluation mode of a backbone's modules."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(backbone: nn.Module, *, training: bool) -> Iterator[None]:
    """Put a backbone in training or evaluation mode inside this context, then each of its modules back in its own.

    Args:
        backbone: any model.
        training: training mode; False: evaluation mode.
    """
    before = {module: module.training for module in backbone.modules()}
    backbone.train(training)
    try:
        yield
    finally:
        for module, was_training in before.items():
            module.training = was_training
