"""The bottleneck adapter: A(y) + y with A(y) = U·g(D·y + b_D) + b_U (Houlsby et al., arXiv:1902.00751v2, §2.1)."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hyperadapters.layers.adapter_index import _gathered, check_by_row

Activation = Literal["gelu_new", "gelu", "relu", "silu", "identity"]


def _unchanged(x: Tensor) -> Tensor:
    return x


_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "identity": _unchanged,
}
"""Activation functions by their names in transformers. Compacter and HyperFormer use `gelu_new`, Houlsby `gelu`. With
`identity` an adapter is linear, so that it can be merged into the linear layer before it, or be written as LoRA."""

Factors = tuple[Float[Tensor, "..."], ...]
"""A matrix as a product of factors; a factor smaller than its input is applied block-diagonally."""


def map_factors(
    function: Callable[[Tensor], Tensor], weight: Float[Tensor, "..."] | Factors | None
) -> Float[Tensor, "..."] | Factors | None:
    """Apply a function to a matrix, or to each of its factors; return None for None.

    Args:
        function: applied to each tensor.
        weight: a matrix, its factors, or None.
    """
    if weight is None:
        return None
    return tuple(function(factor) for factor in weight) if isinstance(weight, tuple) else function(weight)


class AdapterWeights(NamedTuple):
    """The weights of one adapter, or of many adapters with the same leading axes. A weight that is absent is None."""

    down: Float[Tensor, "*lead d_model bottleneck"] | Factors | None
    down_bias: Float[Tensor, "*lead bottleneck"] | None
    up: Float[Tensor, "*lead bottleneck d_model"] | Factors | None
    up_bias: Float[Tensor, "*lead d_model"] | None
    scale: Float[Tensor, "*lead d_model"] | None = None
    """γ of the layer norm after the up-projection."""
    shift: Float[Tensor, "*lead d_model"] | None = None
    """β of that norm."""
    rows: Int[Tensor, " rows"] | None = None
    """For each row of a batch, the number of the adapter that it uses. None: there is only one adapter."""

    def gathered(self, y: Float[Tensor, "*tokens d_model"]) -> "AdapterWeights":
        """Return the one adapter's weights, or each row's own on a leading axis; in the dtype of `y`."""
        rows, weights = self.rows, [map_factors(lambda tensor: tensor.type_as(y), weight) for weight in self[:-1]]
        if rows is not None:
            weights = [map_factors(lambda tensor: _gathered(tensor, rows), weight) for weight in weights]
        return AdapterWeights._make([*weights, None])

    def by_row(self, y: Float[Tensor, "*tokens d_model"]) -> Float[Tensor, "*_ d_model"]:
        """Reshape `y` to (rows, tokens, d_model), merging a row's beams into its tokens; unchanged for one adapter.

        Some layers flatten rows and tokens into one axis; this restores the axis of rows for them too.
        """
        if self.rows is None:
            return y
        check_by_row(len(y), self.rows)
        return y.reshape(len(self.rows), -1, y.shape[-1])


def bottleneck_adapter(
    y: Float[Tensor, "*tokens d_model"],
    weights: AdapterWeights,
    activation: Activation,
    x: Float[Tensor, "*tokens d_model"] | None = None,
) -> Float[Tensor, "*tokens d_model"]:
    """Compute A(x) + y with A(x) = U·g(D·x + b_D) + b_U (Houlsby et al., arXiv:1902.00751v2, §2.1, where x is y).

    With a norm it is γ ⊙ norm(A(x)) + β + y, where A(x) = x if there are no projections (HyperFormer,
    arXiv:2106.04489v1, §2.2 and its ablations).

    Args:
        y: the output of a sub-layer; the computation takes place in its dtype.
        weights: one adapter's weights, or those of several adapters and each row's choice among them.
        activation: the name of g.
        x: what the adapter reads; None: y.

    Raises:
        InputError: rows use different adapters, and the first axis of `y` does not hold every row equally often.
    """
    w, x = weights.gathered(y), weights.by_row(y if x is None else x.type_as(y))
    change = x
    if w.down is not None and w.down_bias is not None and w.up is not None and w.up_bias is not None:
        change = _affine(_ACTIVATIONS[activation](_affine(x, w.down, w.down_bias)), w.up, w.up_bias)
    if w.scale is not None and w.shift is not None:
        change = _scaled_norm(change, w.scale, w.shift)
    return change.reshape(y.shape) + y


def _scaled_norm(
    x: Float[Tensor, "*tokens d_model"],
    scale: Float[Tensor, "*#batch d_model"],
    shift: Float[Tensor, "*#batch d_model"],
) -> Float[Tensor, "*tokens d_model"]:
    """Compute the layer norm γ ⊙ norm(x) + β, with one γ and β for all rows or each row's own."""
    if scale.dim() > 1:
        scale, shift = scale.unsqueeze(-2), shift.unsqueeze(-2)
    return F.layer_norm(x, x.shape[-1:]) * scale + shift


def _affine(
    x: Float[Tensor, "*tokens p"], weight: Float[Tensor, "*batch p q"] | Factors, bias: Float[Tensor, "*batch q"]
) -> Float[Tensor, "*tokens q"]:
    """Compute x @ W + b with one W for all rows or each row's own; W may be given as a product of factors."""
    if isinstance(weight, tuple):
        for factor in weight[:-1]:
            x = _blockwise(x, factor)
        if x.shape[-1] > weight[-1].shape[-2]:
            return _blockwise(x, weight[-1]) + bias.unsqueeze(-2)
        weight = weight[-1]
    if weight.dim() == 2:
        return F.linear(x, weight.mT, bias)
    return torch.baddbmm(bias.unsqueeze(-2), x, weight)


def _blockwise(x: Float[Tensor, "batch seq bp"], factor: Float[Tensor, "batch p q"]) -> Float[Tensor, "batch seq bq"]:
    """Compute x @ (I ⊗ factor): every block of p columns is multiplied by the same matrix, which is the row's own."""
    batch, seq, _ = x.shape
    return torch.bmm(x.reshape(batch, -1, factor.shape[-2]), factor).reshape(batch, seq, -1)
