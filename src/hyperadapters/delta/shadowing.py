"""How a module computes with a Delta's tensor in place of its own parameter."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hyperadapters.backbones import has_offloaded_parameters
from hyperadapters.delta.by_row import ByRow, for_batch
from hyperadapters.delta.part import Handle
from hyperadapters.layers import check_by_row, not_by_row, per_row


class Tensors(Protocol):
    """Tensors by number; where rows differ, each row's own."""

    def __getitem__(self, index: int, /) -> Tensor | ByRow:
        """The tensor with this number."""


NEUTRAL = {"weight": torch.ones_like, "bias": torch.zeros_like}
"""What a parameter of a module of torch is where the hook after it applies each row's own."""


def scales_then_adds(module: nn.Module) -> bool:
    """Whether a module is known to give x ⊙ weight + bias, or W x + bias, and takes nothing else for a weight.

    A class of its own may mean something else by its weight, as the norms that scale by 1 + weight.
    """
    from transformers.pytorch_utils import Conv1D  # noqa: PLC0415 (slow to import)

    norm = type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward)
    return norm or isinstance(module, nn.Linear | Conv1D | nn.modules.conv._ConvNd)


def shadow(
    module: nn.Module,
    attribute: str,
    generated: Callable[[], Tensors],
    index: int,
    during: nn.Module | None = None,
) -> tuple[Handle, ...]:
    """Let a module compute with `generated()[index]` in place of one of its parameters.

    Python finds an instance attribute before a registered parameter of the same name. It is there while the module
    runs, or while `during` does, which may read the parameter without calling the module.

    Where rows differ, a module computes by its own formula with a vector for each row, broadcast over the row's
    tokens. Those of torch take no such vector: they compute with ones for a scale and zeros for a bias, and each
    row's own is applied to the output, a linear layer's matrix to the input.

    Raises, when the module runs:
        InputError: rows differ, and its input is not one for every row.
    """
    running = during or module
    return (
        running.register_forward_pre_hook(partial(_cover, module, attribute, generated, index)),
        running.register_forward_hook(partial(_uncover, module, attribute), always_call=True),
        Uncover(module, attribute),
    )


def _cover(
    module: nn.Module,
    attribute: str,
    generated: Callable[[], Tensors],
    index: int,
    running: nn.Module,
    args: tuple[Any, ...],
) -> None:
    theirs, ours = module._parameters[attribute], generated()[index]
    assert theirs is not None
    module.__dict__.pop(f"{attribute} by row", None)
    if not isinstance(ours, ByRow):
        put_over(module, attribute, ours.to(theirs.dtype) if theirs.is_meta else ours.type_as(theirs))
        return
    if isinstance(args[0], nn.Parameter):
        raise not_by_row(f"a parameter, {tuple(args[0].shape)}")
    check_by_row(len(args[0]), ours.rows)
    if scales_then_adds(module):
        put_over(module, attribute, NEUTRAL[attribute](theirs, device=args[0].device if theirs.is_meta else None))
        object.__setattr__(module, f"{attribute} by row", ours)
    else:
        put_over(module, attribute, for_batch(ours, args[0]).to(theirs.dtype))


COVERS = "hyperadapters covers"
"""The attribute of an offloaded module that holds what its next pass shall compute with, by parameter."""


def put_over(module: nn.Module, attribute: str, value: Tensor) -> None:
    """Let an instance attribute stand before a parameter; in an offloaded module, once its parameters were fetched."""
    parameter = module._parameters[attribute]
    assert parameter is not None
    if not (parameter.is_meta and has_offloaded_parameters(module)):
        object.__setattr__(module, attribute, value)
        return
    if COVERS not in module.__dict__:
        object.__setattr__(module, COVERS, {})
        module.__dict__["_old_forward"] = partial(_covered, module, module.__dict__["_old_forward"])
    module.__dict__[COVERS][attribute] = value


def _covered(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The forward pass of an offloaded module, which accelerate calls between fetching and dropping its parameters."""
    module.__dict__["_old_forward"] = forward
    values = module.__dict__.pop(COVERS)
    module.__dict__.update(values)
    try:
        return forward(*args, **kwargs)
    finally:
        for attribute in values:
            module.__dict__.pop(attribute, None)


def _uncover(
    module: nn.Module, attribute: str, running: nn.Module, args: tuple[Any, ...], output: Tensor | None
) -> Tensor | None:
    module.__dict__.pop(attribute, None)
    ours: ByRow | None = module.__dict__.pop(f"{attribute} by row", None)
    if ours is None or output is None:  # checkpointing cuts a layer's second pass short where it needs no more of it
        return None
    if ours.tensor.dim() == 3:  # a matrix for every row: what the module made of ones is not used
        matrices = per_row(ours.tensor, ours.rows, len(output)).type_as(output)
        return torch.einsum("b...i,boi->b...o", args[0].type_as(output), matrices)
    if isinstance(module, nn.modules.conv._ConvNd):  # its channels are the second axis
        return (output.movedim(1, -1) + for_batch(ours, output.movedim(1, -1))).movedim(-1, 1)
    return output * for_batch(ours, output) if attribute == "weight" else output + for_batch(ours, output)


class Uncover:
    """Clears a shadow that a pass cut short by Ctrl-C may have left."""

    def __init__(self, module: nn.Module, attribute: str) -> None:
        self.module, self.attribute = module, attribute

    def remove(self) -> None:
        """Let the module see its own parameter again."""
        self.module.__dict__.pop(self.attribute, None)
        self.module.__dict__.pop(f"{self.attribute} by row", None)
