"""The bottleneck adapter: A(y) + y with A(y) = U·g(D·y + b_D) + b_U (Houlsby et al., arXiv:1902.00751v2, §2.1)."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Activation = Literal["gelu_new", "gelu", "relu", "silu"]

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
}
"""By their names in transformers. Compacter and HyperFormer use `gelu_new`, Houlsby et al. `gelu`."""


class AdapterWeights(NamedTuple):
    """The matrices of one adapter, or of many with the same leading axes."""

    down: Float[Tensor, "*lead d_model bottleneck"]
    down_bias: Float[Tensor, "*lead bottleneck"]
    up: Float[Tensor, "*lead bottleneck d_model"]
    up_bias: Float[Tensor, "*lead d_model"]


def bottleneck_adapter(
    y: Float[Tensor, "*tokens d_model"], weights: AdapterWeights, activation: Activation
) -> Float[Tensor, "*tokens d_model"]:
    """A(y) + y with one adapter's weights, computed in the type of `y`."""
    down, down_bias, up, up_bias = (weight.type_as(y) for weight in weights)
    hidden = ACTIVATIONS[activation](F.linear(y, down.mT, down_bias))
    return F.linear(hidden, up.mT, up_bias) + y
