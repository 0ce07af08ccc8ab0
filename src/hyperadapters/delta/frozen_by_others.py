"""Warnings where another library has changed what trains: PEFT freezes a Delta, setfit unfreezes the backbone."""

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

    `get_peft_model` freezes every parameter but its own, those of an attached Delta too. `SetFitModel.unfreeze` lets
    every parameter train, and so do loops of users: the Delta would then not be all that has changed.

    Args:
        delta: in use.
        stack: that the pass begins with.
        inputs: of the pass.
    """
    if torch.compiler.is_compiling() or not (delta.training and torch.is_grad_enabled()):
        return
    own = {n: p.requires_grad for n, p in delta.backbone.named_parameters() if not n.startswith(f"{CONTAINER}.")}
    others = [name for name, trains in own.items() if trains]
    if others and not any(tensor.requires_grad for tensor in delta.trained().values()):
        warnings.warn(
            f"the Delta {delta.name!r} is in use but frozen, while {few_names(others)} trains: get_peft_model freezes "
            "what it wraps. To train both: for tensor in delta.trained().values(): tensor.requires_grad_(). To leave "
            "the Delta out: delta.rest().",
            stacklevel=2,
        )
    elif len(others) == len(own) and not delta.trains_in_place:
        warnings.warn(
            f"all of the backbone trains beside the Delta {delta.name!r}, which will not be what it was made on: "
            "something has unfrozen it since, as SetFitModel.unfreeze does. To train the Delta alone: "
            "backbone.requires_grad_(False), then for tensor in delta.trained().values(): tensor.requires_grad_().",
            stacklevel=2,
        )
