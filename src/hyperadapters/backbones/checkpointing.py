"""Gradient checkpointing, as transformers implements it."""

from typing import Any

from hyperadapters._utils import InputError


def check_checkpointing(backbone: Any) -> None:
    """Raise InputError if transformers has no gradient checkpointing for this architecture.

    Args:
        backbone: a model of the transformers library.
    """
    if not backbone.supports_gradient_checkpointing:
        name = type(backbone).__name__
        raise InputError(f"{name} has no gradient checkpointing: leave out training.gradient_checkpointing.")


def enable_checkpointing(backbone: Any) -> None:
    """Make a backbone recompute its layers in the backward pass instead of storing their activations, from now on.

    Args:
        backbone: a model of the transformers library.

    Raises:
        InputError: transformers has no gradient checkpointing for this architecture.
    """
    check_checkpointing(backbone)
    renamed = getattr(backbone, "activation_checkpointing_enable", None)  # the name in later versions of transformers 5
    (renamed or backbone.gradient_checkpointing_enable)({"use_reentrant": False})
