"""Gradients of passes that a Delta made before it was put to rest.

At rest its tensors require no gradient, so autograd would drop what a backward pass finds for them: of a loss over two
Deltas, or where another is put in use between the forward and the backward pass.
"""

import weakref
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_hooks = WeakTensorKeyDictionary()
"""By tensor: the hook that keeps its late gradients. Here and not on the tensor, which may be pickled."""


def _freeze(tensors: Iterable[Tensor], *, in_place: bool = False) -> None:
    """Make tensors require no gradient, and keep those that passes of before still find for them.

    Args:
        tensors: leaves.
        in_place: they are the backbone's own; nothing is kept, and nothing left on them.
    """
    for tensor in tensors:
        if not in_place and tensor.requires_grad:
            hook = partial(_add, weakref.ref(tensor))
            _hooks[tensor] = tensor.register_hook(hook)  # type: ignore[no-untyped-call]
        tensor.requires_grad_(False)


def _unfreeze(tensors: Iterable[Tensor]) -> None:
    """Make tensors require gradients, which autograd then keeps itself.

    Args:
        tensors: leaves.
    """
    for tensor in tensors:
        if tensor in _hooks:
            _hooks.pop(tensor).remove()  # type: ignore[no-untyped-call]
        tensor.requires_grad_()


def _add(found_for: "weakref.ref[Tensor]", gradient: Tensor) -> None:
    """Add a gradient to a tensor's own, unless autograd does."""
    tensor = found_for()
    if tensor is not None and not tensor.requires_grad:
        before = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        tensor.grad = before + gradient.detach()
