"""One rung of a ladder: a small block beside a layer of the backbone, which reads the layer's frozen output.

Ladder side tuning (Sung et al., arXiv:2206.06522, §3) in our parametrisations: states h of the backbone, which no
gradient enters, and a narrow state s that goes up beside them, s ← B(μ s + (1 − μ) g(D norm(h) + b)); B is attention.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hyperadapters.layers.adapter_index import _gathered, check_by_row
from hyperadapters.layers.bottleneck import _ACTIVATIONS, Activation


class RungWeights(NamedTuple):
    """The weights of one rung, of one adapter or of several with the same leading axis; absent ones are None."""

    down: Float[Tensor, "*lead d_model bottleneck"]
    down_bias: Float[Tensor, "*lead bottleneck"]
    gate: Float[Tensor, "*lead 1"]
    """The logit of μ: how much of the state below goes on."""
    query: Float[Tensor, "*lead bottleneck bottleneck"] | None = None
    key: Float[Tensor, "*lead bottleneck bottleneck"] | None = None
    value: Float[Tensor, "*lead bottleneck bottleneck"] | None = None
    mix: Float[Tensor, "*lead bottleneck bottleneck"] | None = None
    """The matrix after the rung's attention."""
    up: Float[Tensor, "*lead bottleneck d_model"] | None = None
    """Of the last rung: from the ladder's state into the backbone's last one."""
    up_bias: Float[Tensor, "*lead d_model"] | None = None

    def for_rows(self, index: Int[Tensor, " rows"] | None, states: Float[Tensor, "batch seq width"]) -> "RungWeights":
        """Return the weights in the dtype of `states`, or those of each run of rows on a leading axis.

        Vectors get an axis for the tokens.

        Args:
            index: for each run of rows, its place on the leading axis; None: there is one adapter.
            states: of the batch.

        Raises:
            InputError: the first axis of `states` does not hold every row equally often.
        """
        own = [None if tensor is None else tensor.type_as(states) for tensor in self]
        if index is not None:
            check_by_row(len(states), index)
            own = [None if tensor is None else _gathered(tensor, index) for tensor in own]
            named = zip(self._fields, own, strict=True)
            own = [v.unsqueeze(1) if v is not None and name in _VECTORS else v for name, v in named]
        return RungWeights._make(own)


_VECTORS = ("down_bias", "gate", "up_bias")


def climb(
    state: Float[Tensor, "batch seq bottleneck"] | None,
    normed: Float[Tensor, "batch seq d_model"],
    weights: RungWeights,
    activation: Activation,
    heads: int,
    memory: Float[Tensor, "batch source bottleneck"] | None = None,
    mask: Bool[Tensor, "batch 1 1 source"] | None = None,
) -> Float[Tensor, "batch seq bottleneck"]:
    """Compute the ladder's state above one rung (arXiv:2206.06522, §3.2; B is attention alone, and g is ours).

    Args:
        state: below the rung; None: there is none, 0.
        normed: the output of the backbone's layer beside the rung, with mean 0 and variance 1 (`normalized`).
        weights: the rung's, as `RungWeights.for_rows` gives them.
        activation: g, of what is read.
        heads: of its attention; a rung without attention weights has none.
        memory: what its attention reads; None: the ladder's own state.
        mask: which places its attention may read; None: all.
    """
    batch, seq, _ = normed.shape
    read = _ACTIVATIONS[activation](add_product(weights.down_bias, normed, weights.down))
    keep = torch.sigmoid(weights.gate)
    state = read - keep * read if state is None else read + keep * (state.reshape(read.shape) - read)
    if weights.query is not None and weights.key is not None and weights.value is not None and weights.mix is not None:
        own = normalized(state)
        source = own if memory is None else memory
        query = _by_head(_product(own, weights.query), batch, heads)
        key = _by_head(_product(source, weights.key), batch, heads)
        value = _by_head(_product(source, weights.value), batch, heads)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        state = add_product(state, found.transpose(1, 2).flatten(2), weights.mix)
    return state.view(batch, seq, -1)


def normalized(x: Float[Tensor, "batch seq width"]) -> Float[Tensor, "batch seq width"]:
    """Return x with mean 0 and variance 1 at every place.

    Args:
        x: any states.
    """
    return F.layer_norm(x, x.shape[-1:])


def add_product(
    base: Float[Tensor, "..."], x: Float[Tensor, "groups tokens p"], weight: Float[Tensor, "*lead p q"]
) -> Float[Tensor, "_ _ q"]:
    """Compute base + x @ W in one operation, with the rows that share a matrix in one product.

    Args:
        base: a vector, one of each run of rows on an axis for the tokens, or states.
        x: states.
        weight: W, shared or that of each run of rows.

    Returns:
        Of shape (rows, tokens, q) or, where runs have their own W, (runs, tokens, q).
    """
    if weight.dim() == 3:
        return torch.baddbmm(base, x.reshape(len(weight), -1, x.shape[-1]), weight)
    flat = base if base.dim() == 1 else base.flatten(0, 1)
    return torch.addmm(flat, x.flatten(0, 1), weight).view(*x.shape[:2], -1)


def _product(x: Float[Tensor, "groups tokens p"], weight: Float[Tensor, "*lead p q"]) -> Float[Tensor, "_ _ q"]:
    """Compute x @ W, shaped as by `add_product`.

    Args:
        x: states.
        weight: W, shared or that of each run of rows.
    """
    return x @ weight if weight.dim() == 2 else x.reshape(len(weight), -1, x.shape[-1]) @ weight


def _by_head(x: Float[Tensor, "groups tokens width"], batch: int, heads: int) -> Float[Tensor, "batch heads _ part"]:
    return x.view(batch, -1, heads, x.shape[-1] // heads).transpose(1, 2)


def read_memory(
    hidden: Float[Tensor, "batch source d_model"],
    down: Float[Tensor, "*lead d_model bottleneck"],
) -> Float[Tensor, "batch source bottleneck"]:
    """Return what the rungs of a decoder read of its encoder's last states.

    Args:
        hidden: the encoder's last states.
        down: a projection, shared or that of each run of rows.
    """
    return normalized(_product(normalized(hidden), down).view(*hidden.shape[:2], -1))
