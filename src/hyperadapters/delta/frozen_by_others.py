"""A warning where a Delta in use has stopped training because another library froze it, as PEFT does what it wraps."""

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hyperadapters._utils import few_names
from hyperadapters.backbones import CONTAINER

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta


def _warn_if_frozen(delta: "Delta", stack: nn.Module, inputs: Any) -> None:
    """Warn of a training pass in which something trains, but nothing of the Delta in use; a hook before a stack.

    `get_peft_model` freezes every parameter but its own, those of an attached Delta too.

    Args:
        delta: in use.
        stack: that the pass begins with.
        inputs: of the pass.
    """
    if torch.compiler.is_compiling() or not (delta.training and torch.is_grad_enabled()):
        return
    if any(tensor.requires_grad for tensor in delta.trained().values()):
        return
    others = [
        name
        for name, parameter in delta.backbone.named_parameters()
        if parameter.requires_grad and not name.startswith(f"{CONTAINER}.")
    ]
    if others:
        warnings.warn(
            f"the Delta {delta.name!r} is in use but frozen, while {few_names(others)} trains: get_peft_model freezes "
            "what it wraps. To train both: for tensor in delta.trained().values(): tensor.requires_grad_(). To leave "
            "the Delta out: delta.rest().",
            stacklevel=2,
        )
