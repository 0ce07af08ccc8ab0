"""The bottleneck adapter: A(y) + y with A(y) = U·g(D·y + b_D) + b_U (Houlsby et al., arXiv:1902.00751v2, §2.1)."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hyperadapters.layers.adapter_index import check_by_row, gathered

Activation = Literal["gelu_new", "gelu", "relu", "silu"]

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
}
"""By their names in transformers. Compacter and HyperFormer use `gelu_new`, Houlsby et al. `gelu`."""

Factors = tuple[Float[Tensor, "..."], ...]
"""A matrix as a product; a factor with fewer rows than it is given columns acts on equal blocks of them alike."""


def map_factors(
    function: Callable[[Tensor], Tensor], weight: Float[Tensor, "..."] | Factors | None
) -> Float[Tensor, "..."] | Factors | None:
    """What a function makes of a tensor, of each factor, or of nothing."""
    if weight is None:
        return None
    return tuple(function(factor) for factor in weight) if isinstance(weight, tuple) else function(weight)


class AdapterWeights(NamedTuple):
    """The weights of one adapter, or of many with the same leading axes; what an adapter does not have is None."""

    down: Float[Tensor, "*lead d_model bottleneck"] | Factors | None
    down_bias: Float[Tensor, "*lead bottleneck"] | None
    up: Float[Tensor, "*lead bottleneck d_model"] | Factors | None
    up_bias: Float[Tensor, "*lead d_model"] | None
    scale: Float[Tensor, "*lead d_model"] | None = None
    """γ of a norm after the up-projection."""
    shift: Float[Tensor, "*lead d_model"] | None = None
    """β of that norm."""
    rows: Int[Tensor, " rows"] | None = None
    """For every row of a batch, which of several adapters it uses; None: there is but one."""

    def gathered(self, y: Float[Tensor, "*tokens d_model"]) -> "AdapterWeights":
        """One adapter for all rows, or each row's own; in the type of `y`."""
        rows, found = self.rows, [map_factors(lambda tensor: tensor.type_as(y), weight) for weight in self[:-1]]
        if rows is not None:
            found = [map_factors(lambda tensor: gathered(tensor, rows), weight) for weight in found]
        return AdapterWeights._make([*found, None])

    def by_row(self, y: Float[Tensor, "*tokens d_model"]) -> Float[Tensor, "*_ d_model"]:
        """`y` with all tokens of a row on one axis, its beams' and those of a layer that lays rows end to end."""
        if self.rows is None:
            return y
        check_by_row(len(y), self.rows)
        return y.reshape(len(self.rows), -1, y.shape[-1])


def bottleneck_adapter(
    y: Float[Tensor, "*tokens d_model"], weights: AdapterWeights, activation: Activation
) -> Float[Tensor, "*tokens d_model"]:
    """A(y) + y, computed in the type of `y`, with one adapter's weights or with each row's own.

    With a norm γ ⊙ norm(A(y)) + β + y, where A(y) = y if there are no projections (HyperFormer, arXiv:2106.04489v1,
    §2.2 and its ablations).
    """
    own, x = weights.gathered(y), weights.by_row(y)
    change = x
    if own.down is not None and own.down_bias is not None and own.up is not None and own.up_bias is not None:
        change = affine(ACTIVATIONS[activation](affine(x, own.down, own.down_bias)), own.up, own.up_bias)
    if own.scale is not None and own.shift is not None:
        change = scaled_norm(change, own.scale, own.shift)
    return change.reshape(y.shape) + y


def scaled_norm(
    x: Float[Tensor, "*tokens d_model"],
    scale: Float[Tensor, "*#batch d_model"],
    shift: Float[Tensor, "*#batch d_model"],
) -> Float[Tensor, "*tokens d_model"]:
    """The layer norm γ ⊙ norm(x) + β, with one γ and β for all rows or each row's own."""
    if scale.dim() > 1:
        scale, shift = scale.unsqueeze(-2), shift.unsqueeze(-2)
    return F.layer_norm(x, x.shape[-1:]) * scale + shift


def affine(
    x: Float[Tensor, "*tokens p"], weight: Float[Tensor, "*batch p q"] | Factors, bias: Float[Tensor, "*batch q"]
) -> Float[Tensor, "*tokens q"]:
    """The product x @ W + b with one matrix for all rows, or with one for each, which may be a product of factors."""
    if isinstance(weight, tuple):
        for factor in weight[:-1]:
            x = blockwise(x, factor)
        if x.shape[-1] > weight[-1].shape[-2]:
            return blockwise(x, weight[-1]) + bias.unsqueeze(-2)
        weight = weight[-1]
    if weight.dim() == 2:
        return F.linear(x, weight.mT, bias)
    return torch.baddbmm(bias.unsqueeze(-2), x, weight)


def blockwise(x: Float[Tensor, "batch seq bp"], factor: Float[Tensor, "batch p q"]) -> Float[Tensor, "batch seq bq"]:
    """The product x @ (I ⊗ factor): every block of p numbers with the same matrix, each row with its own."""
    batch, seq, _ = x.shape
    return torch.bmm(x.reshape(batch, -1, factor.shape[-2]), factor).reshape(batch, seq, -1)
