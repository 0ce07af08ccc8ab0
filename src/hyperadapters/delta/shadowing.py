"""Shadowing: making a module compute with a Delta's tensor instead of its own parameter.

Python finds an instance attribute before a registered parameter of the same name, because `nn.Module.__getattr__` is
called only if normal lookup fails. A pre-hook sets the attribute before the module runs, and a hook removes it
afterwards. The parameter itself, `state_dict` and `named_parameters` never change.
"""

from collections.abc import Callable, Iterable
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


class Vocabulary:
    """The size of a backbone's vocabulary when a Delta was attached that trains tensors of the output layer.

    Args:
        backbone: the model; one that is none of the transformers library has no output layer.
        paths: of the modules whose tensors the Delta trains.
    """

    def __init__(self, backbone: nn.Module, paths: Iterable[str]) -> None:
        output = getattr(backbone, "get_output_embeddings", lambda: None)()
        trained = output is not None and any(backbone.get_submodule(path) is output for path in paths)
        self._config: Any = backbone.config.get_text_config() if trained else None  # type: ignore[union-attr, operator]
        self._size = getattr(self._config, "vocab_size", 0)

    def check(self) -> None:
        """Raise InputError if the vocabulary has another size now.

        The Delta's tensors would be too short or too long, or hooks would stand on a layer that was replaced.
        """
        if self._config is not None and not torch.compiler.is_compiling() and self._config.vocab_size != self._size:
            raise InputError(
                f"the backbone's vocabulary has {self._config.vocab_size} tokens, but {self._size} when the Delta was "
                "attached, which trains tensors of the output layer. Resize first (resize_token_embeddings), then "
                "attach; or use a method that leaves the output layer as it is."
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
