"""Gradient checkpointing, as transformers does it."""

from typing import Any

from hyperadapters._utils import InputError


def check_checkpointing(backbone: Any) -> None:
    """Raise InputError if transformers has no gradient checkpointing for this architecture."""
    if not backbone.supports_gradient_checkpointing:
        name = type(backbone).__name__
        raise InputError(f"{name} has no gradient checkpointing: leave out training.gradient_checkpointing.")


def enable_checkpointing(backbone: Any) -> None:
    """Let a backbone compute its layers again in the backward pass, as transformers does it; it stays so.

    Raises:
        InputError: as `check_checkpointing`.
    """
    check_checkpointing(backbone)
    new = getattr(backbone, "activation_checkpointing_enable", None)  # its name in later versions of transformers 5
    (new or backbone.gradient_checkpointing_enable)({"use_reentrant": False})
