"""The bottleneck adapter: A(y) + y with A(y) = U·g(D·y + b_D) + b_U (Houlsby et al., arXiv:1902.00751v2, §2.1)."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hyperadapters.layers.rows import per_row

Activation = Literal["gelu_new", "gelu", "relu", "silu"]

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
}
"""By their names in transformers. Compacter and HyperFormer use `gelu_new`, Houlsby et al. `gelu`."""


class AdapterWeights(NamedTuple):
    """The weights of one adapter, or of many with the same leading axes."""

    down: Float[Tensor, "*lead d_model bottleneck"]
    down_bias: Float[Tensor, "*lead bottleneck"]
    up: Float[Tensor, "*lead bottleneck d_model"]
    up_bias: Float[Tensor, "*lead d_model"]
    rows: Int[Tensor, " rows"] | None = None
    """For every row of a batch, which of several adapters it uses; None: there is but one."""

    def gathered(self, batch: int) -> "AdapterWeights":
        """One adapter for all rows, or each row's own."""
        if self.rows is None:
            return self
        return AdapterWeights(*(per_row(weight, self.rows, batch) for weight in self[:4]))


def bottleneck_adapter(
    y: Float[Tensor, "*tokens d_model"], weights: AdapterWeights, activation: Activation
) -> Float[Tensor, "*tokens d_model"]:
    """A(y) + y, computed in the type of `y`, with one adapter's weights or with each row's own."""
    down, down_bias, up, up_bias = (weight.type_as(y) for weight in weights.gathered(y.shape[0])[:4])
    return affine(ACTIVATIONS[activation](affine(y, down, down_bias)), up, up_bias) + y


def affine(
    x: Float[Tensor, "*tokens p"], weight: Float[Tensor, "*batch p q"], bias: Float[Tensor, "*batch q"]
) -> Float[Tensor, "*tokens q"]:
    """The product x @ W + b with one matrix for all rows, or with one for each."""
    if weight.dim() == 2:
        return F.linear(x, weight.mT, bias)
    return torch.baddbmm(bias.unsqueeze(-2), x, weight)
