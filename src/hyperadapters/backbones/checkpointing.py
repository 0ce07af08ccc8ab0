"""Gradient checkpointing, as transformers implements it."""

from collections.abc import Iterator
from contextlib import contextmanager
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


def _enable_checkpointing(backbone: Any) -> None:
    """Make a backbone recompute its layers in the backward pass instead of storing their activations, from now on.

    Args:
        backbone: a model of the transformers library.

    Raises:
        InputError: transformers has no gradient checkpointing for this architecture.
    """
    check_checkpointing(backbone)
    renamed = getattr(backbone, "activation_checkpointing_enable", None)  # the name in later versions of transformers 5
    (renamed or backbone.gradient_checkpointing_enable)({"use_reentrant": False})


_SETTINGS = {
    "gradient_checkpointing", "_gradient_checkpointing_func", "_require_grads_hook", "_require_grads_hooks"
}  # fmt: skip
"""The attributes of a module in which transformers keeps whether and how it recomputes, and its hooks for that."""


@contextmanager
def with_checkpointing(backbone: Any) -> Iterator[None]:
    """Make a backbone recompute its layers in the backward pass inside this context, then do as before.

    Args:
        backbone: a model of the transformers library.

    Raises:
        InputError: transformers has no gradient checkpointing for this architecture.
    """
    before = {module: {name: value for name, value in vars(module).items() if name in _SETTINGS}
              for module in backbone.modules()}  # fmt: skip
    _enable_checkpointing(backbone)
    try:
        yield
    finally:
        if vars(backbone).get("_require_grads_hook") is not before[backbone].get("_require_grads_hook"):
            backbone.disable_input_require_grads()  # which `_enable_checkpointing` has enabled
        for module, settings in before.items():
            for name in vars(module).keys() & _SETTINGS:
                delattr(module, name)
            vars(module).update(settings)
