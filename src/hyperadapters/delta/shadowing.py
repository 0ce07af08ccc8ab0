"""Shadowing: making a module compute with a Delta's tensor instead of its own parameter.

Python finds an instance attribute before a registered parameter of the same name, because `nn.Module.__getattr__` is
called only if normal lookup fails. A pre-hook sets the attribute before the module runs, and a hook removes it
afterwards. The parameter itself, `state_dict` and `named_parameters` never change.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import has_offloaded_parameters
from hyperadapters.delta.by_row import ByRow, for_batch
from hyperadapters.delta.part import Handle
from hyperadapters.layers import check_by_row, not_by_row, per_row


class _Tensors(Protocol):
    """Tensors by number; if rows use different adapters, each with the rows' choice."""

    def __getitem__(self, index: int, /) -> Tensor | ByRow:
        """Return the tensor with this number."""


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
    module: nn.Module,
    attribute: str,
    generated: Callable[[], _Tensors],
    index: int,
    during: nn.Module | None = None,
) -> tuple[Handle, ...]:
    """Make a module compute with `generated()[index]` instead of one of its parameters.

    If rows use different adapters, the parameter is replaced by a vector per row, broadcast over the row's tokens, and
    the module computes its own formula with it. The layers of torch do not accept such a vector: they compute with ones
    for a weight and zeros for a bias, and the hook afterwards applies each row's own to the output. A linear layer's
    matrices are applied to its input instead.

    When the module runs, InputError is raised if rows use different adapters and the input is not one per row.

    Args:
        module: the module that owns the parameter.
        attribute: the parameter's name in the module: weight or bias.
        generated: returns the tensors of the current pass.
        index: which of them to use.
        during: the module during whose forward pass the tensor is replaced, if it reads the parameter without calling
            `module`; None: `module` itself.

    Returns:
        Handles that remove the hooks and clear a shadow that is left.
    """
    running = during or module
    return (
        running.register_forward_pre_hook(partial(_cover, module, attribute, generated, index)),
        running.register_forward_hook(partial(_uncover, module, attribute), always_call=True),
        _Uncover(module, attribute),
    )


def _cover(
    module: nn.Module,
    attribute: str,
    generated: Callable[[], _Tensors],
    index: int,
    running: nn.Module,
    args: tuple[Any, ...],
) -> None:
    theirs, ours = module._parameters[attribute], generated()[index]
    assert theirs is not None
    module.__dict__.pop(f"{attribute} by row", None)
    own = ours.tensor.shape[1:] if isinstance(ours, ByRow) else ours.shape
    if own != theirs.shape and theirs.numel():
        raise resized(f"the {attribute} of {type(module).__name__}", theirs.shape, own)
    if not isinstance(ours, ByRow):
        _put_over(module, attribute, ours.to(theirs.dtype) if theirs.is_meta else ours.type_as(theirs))
        return
    if isinstance(args[0], nn.Parameter):
        raise not_by_row(f"a parameter, {tuple(args[0].shape)}")
    check_by_row(len(args[0]), ours.rows)
    if _scales_then_adds(module):
        _put_over(module, attribute, _NEUTRAL[attribute](theirs, device=args[0].device if theirs.is_meta else None))
        object.__setattr__(module, f"{attribute} by row", ours)
    else:
        _put_over(module, attribute, for_batch(ours, args[0]).to(theirs.dtype))


OutputLayers = list[tuple[nn.Module, str, nn.Module]]
"""For output layers: the module that holds it, its name there, and itself."""


def output_layers(backbone: nn.Module, paths: Iterable[str]) -> OutputLayers:
    """Return those of some modules that are the backbone's output layer, to be checked by `check_not_replaced`.

    Args:
        backbone: a model of the transformers library.
        paths: of modules.
    """
    output = backbone.get_output_embeddings()  # type: ignore[operator]
    found = [path for path in dict.fromkeys(paths) if backbone.get_submodule(path) is output]
    places = [(path.rpartition("."), backbone.get_submodule(path)) for path in found]
    return [(backbone.get_submodule(parent), name, module) for (parent, _, name), module in places]


def check_not_replaced(layers: OutputLayers) -> None:
    """Raise InputError if `resize_token_embeddings` has put another module in the place of an output layer.

    The hooks on the previous one would never run.
    """
    if torch.compiler.is_compiling():
        return
    for parent, name, module in layers:
        now = parent._modules.get(name)
        if now is not module:
            shape = () if now is None else now.weight.shape
            raise resized(f"the weight of {name}", shape, module.weight.shape)  # type: ignore[arg-type]


def resized(what: str, now: Sequence[int], own: Sequence[int]) -> InputError:
    """Return the error of a tensor that has another size than when the Delta was attached.

    Args:
        what: names the backbone's tensor.
        now: the sizes that it has.
        own: the sizes of the Delta's own.
    """
    return InputError(
        f"{what} has the size {tuple(now)}, but the Delta's own has {tuple(own)}: the backbone was resized after the "
        "Delta was attached (resize_token_embeddings). Resize first, then attach; or use a method that trains neither "
        "the vocabulary's weights nor its biases."
    )


_COVERS = "hyperadapters covers"
"""The attribute of an offloaded module that holds the tensors for its next pass, by parameter name."""


def _put_over(module: nn.Module, attribute: str, value: Tensor) -> None:
    """Shadow a parameter by an instance attribute; in an offloaded module, only once accelerate has fetched it."""
    parameter = module._parameters[attribute]
    assert parameter is not None
    if not (parameter.is_meta and has_offloaded_parameters(module)):
        object.__setattr__(module, attribute, value)
        return
    if _COVERS not in module.__dict__:
        object.__setattr__(module, _COVERS, {})
        module.__dict__["_old_forward"] = partial(_covered, module, module.__dict__["_old_forward"])
    module.__dict__[_COVERS][attribute] = value


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


def _uncover(
    module: nn.Module, attribute: str, running: nn.Module, args: tuple[Any, ...], output: Tensor | None
) -> Tensor | None:
    module.__dict__.pop(attribute, None)
    ours: ByRow | None = module.__dict__.pop(f"{attribute} by row", None)
    if ours is None or output is None:  # checkpointing ends a layer's second pass early, once it has what it needs
        return None
    if ours.tensor.dim() == 3:  # a matrix per row: what the module computed with ones is not used
        matrices = per_row(ours.tensor, ours.rows, len(output)).type_as(output)
        return torch.einsum("b...i,boi->b...o", args[0].type_as(output), matrices)
    if isinstance(module, nn.modules.conv._ConvNd):  # its channels are the second axis
        return (output.movedim(1, -1) + for_batch(ours, output.movedim(1, -1))).movedim(-1, 1)
    return output * for_batch(ours, output) if attribute == "weight" else output + for_batch(ours, output)


class _Uncover:
    """Clears a shadow that is left if a forward pass was interrupted (Ctrl-C)."""

    def __init__(self, module: nn.Module, attribute: str) -> None:
        self.module, self.attribute = module, attribute

    def remove(self) -> None:
        """Make the module use its own parameter again."""
        self.module.__dict__.pop(self.attribute, None)
        self.module.__dict__.pop(f"{self.attribute} by row", None)
