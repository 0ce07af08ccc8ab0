"""The backbone while it trains, and as it was afterwards."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from hyperadapters.backbones import in_mode, with_checkpointing, with_dropout_masks
from hyperadapters.training.config import Training


@contextmanager
def training_backbone(backbone: Any, training: Training) -> Iterator[None]:
    """Put a backbone in training mode, with the dropout and checkpointing that are set, inside this context.

    Each of its modules is as before afterwards.

    Args:
        backbone: a model of the transformers library.
        training: `fast_dropout` and `gradient_checkpointing` are used.

    Raises:
        InputError: transformers has no gradient checkpointing for this architecture.
    """
    with ExitStack() as stack:
        stack.enter_context(in_mode(backbone, training=True))
        stack.enter_context(with_dropout_masks(backbone, fast=training.fast_dropout))
        if training.gradient_checkpointing:
            stack.enter_context(with_checkpointing(backbone))
        yield
