"""Shadowing: making a module compute with a Delta's tensor instead of its own parameter.

Python finds an instance attribute before a registered parameter of the same name, because `nn.Module.__getattr__` is
called only if normal lookup fails. A pre-hook sets the attribute before the module runs, and a hook removes it
afterwards. The parameter itself, `state_dict` and `named_parameters` never change.

The attribute belongs to the module, not to a thread: threads that compute with one module take turns.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import Turn
from hyperadapters.backbones import has_offloaded_parameters
from hyperadapters.delta.by_row import ByRow, for_batch
from hyperadapters.delta.part import Handle
from hyperadapters.layers import check_by_row, not_by_row, per_row

_NEUTRAL = {"weight": torch.ones_like, "bias": torch.zeros_like}
"""How to make values with which a parameter has no effect; the hook afterwards then applies each row's own."""


def _scales_then_adds(module: nn.Module) -> bool:
    """Return whether a module is known to compute x ⊙ weight + bias or W x + bias, with a tensor of fixed shape.

    Other classes may use their weight differently, such as norms that scale by 1 + weight.
    """
    from transformers.pytorch_utils import Conv1D  # noqa: PLC0415 (slow to import)

    norm = type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward)
    return norm or isinstance(module, nn.Linear | Conv1D | nn.modules.conv._ConvNd)


def shadow(
    module: nn.Module, attribute: str, ours: Callable[[], Tensor | ByRow], during: nn.Module | None = None
) -> tuple[Handle, ...]:
    """Make a module compute with another tensor instead of one of its parameters.

    If rows use different adapters, the parameter is replaced by a vector per row, broadcast over the row's tokens, and
    the module computes its own formula with it. The layers of torch do not accept such a vector: they compute with ones
    for a weight and zeros for a bias, and the hook afterwards applies each row's own to the output. A linear layer's
    matrices are applied to its input instead.

    While one thread runs the module, others that want to run it wait. When the module runs, InputError is raised if
    rows use different adapters and the input is not one per row.

    Args:
        module: the module that owns the parameter.
        attribute: the parameter's name in the module: weight or bias.
        ours: returns the tensor to use in the current pass (`Part.install`).
        during: the module during whose forward pass the tensor is replaced, if it reads the parameter without calling
            `module`, of which it is the parent; None: `module` itself.

    Returns:
        Handles that remove the hooks and clear a shadow that is left.
    """
    running, over = during or module, _Shadow(module, attribute, ours, during)
    return (
        running.register_forward_pre_hook(over.cover),
        running.register_forward_hook(over.uncover, always_call=True),
        over,
    )


class _Shadow:
    """A tensor that stands in front of a parameter while a module runs. The arguments are those of `shadow`."""

    def __init__(
        self, module: nn.Module, attribute: str, ours: Callable[[], Tensor | ByRow], during: nn.Module | None
    ) -> None:
        self.module, self.attribute, self.ours = module, attribute, ours
        self.child = "" if during is None else next(name for name, m in during.named_children() if m is module)
        self.turn = Turn()
        self.hidden: Tensor | None = None
        """What stood in front of the parameter already: another shadow, or the parameter of a replica."""
        self.by_row: ByRow | None = None
        """The rows' own vectors or matrices, which are applied after the module has run with neutral ones."""

    def cover(self, running: nn.Module, args: tuple[Any, ...]) -> None:
        """Set the shadow (a forward pre-hook).

        Args:
            running: the module that runs: the shadowed one or its parent, or a replica of it (`nn.DataParallel`).
            args: its input.
        """
        module = self.holder(running)
        if not self.turn.take():
            self.restore(module)  # a pass of this thread was interrupted
        self.hidden, self.by_row = module.__dict__.pop(self.attribute, None), None
        own, ours = module._parameters.get(self.attribute), self.ours()
        theirs = self.hidden if own is None else own
        assert theirs is not None
        if not isinstance(ours, ByRow):
            self.put_over(module, ours.to(theirs.dtype) if theirs.is_meta else ours.type_as(theirs))
            return
        if isinstance(args[0], nn.Parameter):
            raise not_by_row(f"a parameter, {tuple(args[0].shape)}")
        check_by_row(len(args[0]), ours.rows)
        if _scales_then_adds(module):
            device = args[0].device if theirs.is_meta else None
            self.put_over(module, _NEUTRAL[self.attribute](theirs, device=device))
            self.by_row = ours
        else:
            self.put_over(module, for_batch(ours, args[0]).to(theirs.dtype))

    def uncover(self, running: nn.Module, args: tuple[Any, ...], output: Tensor | None) -> Tensor | None:
        """Clear the shadow, and apply rows' own tensors to the output (a forward hook that is always called).

        Args:
            running: the module that has run.
            args: its input.
            output: its output; None if it was interrupted.
        """
        if not self.turn.mine:
            return None
        ours, module = self.by_row, self.holder(running)
        self.restore(module)
        self.turn.give()
        if ours is None or output is None:  # checkpointing ends a layer's second pass early, once it has what it needs
            return None
        if ours.tensor.dim() == 3:  # a matrix per row: what the module computed with ones is not used
            matrices = per_row(ours.tensor, ours.rows, len(output)).type_as(output)
            return torch.einsum("b...i,boi->b...o", args[0].type_as(output), matrices)
        if isinstance(module, nn.modules.conv._ConvNd):  # its channels are the second axis
            return (output.movedim(1, -1) + for_batch(ours, output.movedim(1, -1))).movedim(-1, 1)
        scales = self.attribute == "weight"
        return output * for_batch(ours, output) if scales else output + for_batch(ours, output)

    def holder(self, running: nn.Module) -> nn.Module:
        """Return the module whose parameter is shadowed while this one runs."""
        return getattr(running, self.child) if self.child else running

    def put_over(self, module: nn.Module, value: Tensor) -> None:
        """Set an instance attribute; in an offloaded module, only once accelerate has fetched the parameter."""
        parameter = module._parameters.get(self.attribute)
        if parameter is None or not (parameter.is_meta and has_offloaded_parameters(module)):
            object.__setattr__(module, self.attribute, value)
            return
        if _COVERS not in module.__dict__:
            object.__setattr__(module, _COVERS, {})
            module.__dict__["_old_forward"] = partial(_covered, module, module.__dict__["_old_forward"])
        module.__dict__[_COVERS][self.attribute] = value

    def restore(self, module: nn.Module) -> None:
        """Clear the shadow, so that the module has what it had before."""
        module.__dict__.pop(self.attribute, None)
        if self.hidden is not None:
            object.__setattr__(module, self.attribute, self.hidden)
        self.hidden = self.by_row = None

    def remove(self) -> None:
        """Clear a shadow that Ctrl-C has left, when the hooks are removed."""
        self.restore(self.module)
        self.turn.give()


_COVERS = "hyperadapters covers"
"""The attribute of an offloaded module that holds the tensors for its next pass, by parameter name."""


def _covered(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run an offloaded module's forward pass with shadows set; accelerate calls it once parameters are fetched."""
    module.__dict__["_old_forward"] = forward
    values = module.__dict__.pop(_COVERS)
    module.__dict__.update(values)
    try:
        return forward(*args, **kwargs)
    finally:
        for attribute in values:
            module.__dict__.pop(attribute, None)
