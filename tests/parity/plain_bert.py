"""A BERT written out from its paper (Devlin et al., arXiv:1810.04805v2, §3), with Houlsby et al.'s adapters in it.

Sub-layers end with their norm, LN(x + dropout(F(x))). The adapter stands between dropout and residual: LN(x + A(y) + y)
with y = dropout(F(x)) (Houlsby et al., arXiv:1902.00751v2, §2.1 and published code).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from equations import gelu_erf, standardized
from torch import Tensor
from torch.nn.functional import dropout


@dataclass(frozen=True)
class PlainBert:
    """A BERT with a classification head, as a function of its tensors."""

    config: Any
    """Sizes: `num_hidden_layers`, `num_attention_heads`."""
    tensors: Mapping[str, Tensor]
    adapters: Sequence[Callable[[Tensor], Tensor]] = ()
    """One for each sub-layer, in order; none: the plain model."""
    dropout: float = 0.0
    """Of embeddings, sub-layers and the head; attention drops nothing."""

    def logits(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        words = self.tensors["bert.embeddings.word_embeddings.weight"][input_ids]
        segment = self.tensors["bert.embeddings.token_type_embeddings.weight"][0]
        places = self.tensors["bert.embeddings.position_embeddings.weight"][: input_ids.shape[1]]
        x = self.drop(self.norm(words + segment + places, "bert.embeddings.LayerNorm"))
        for layer in range(self.config.num_hidden_layers):
            path = f"bert.encoder.layer.{layer}"
            y = self.linear(self.heads(x, attention_mask, f"{path}.attention.self"), f"{path}.attention.output.dense")
            x = self.norm(x + self.adapted(self.drop(y), 2 * layer), f"{path}.attention.output.LayerNorm")
            y = self.linear(gelu_erf(self.linear(x, f"{path}.intermediate.dense")), f"{path}.output.dense")
            x = self.norm(x + self.adapted(self.drop(y), 2 * layer + 1), f"{path}.output.LayerNorm")
        pooled = torch.tanh(self.linear(x[:, 0], "bert.pooler.dense"))
        return self.linear(self.drop(pooled), "classifier")

    def heads(self, x: Tensor, mask: Tensor, path: str) -> Tensor:
        """What the heads of self-attention return, side by side."""
        q, k, v = (
            self.linear(x, f"{path}.{name}").unflatten(-1, (self.config.num_attention_heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~mask.bool()[:, None, None, :], -math.inf)
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        return (weights @ v).transpose(1, 2).flatten(-2)

    def adapted(self, y: Tensor, sublayer: int) -> Tensor:
        return self.adapters[sublayer](y) if self.adapters else y

    def linear(self, x: Tensor, path: str) -> Tensor:
        return x @ self.tensors[f"{path}.weight"].T + self.tensors[f"{path}.bias"]

    def norm(self, x: Tensor, path: str) -> Tensor:
        return self.tensors[f"{path}.weight"] * standardized(x, eps=1e-12) + self.tensors[f"{path}.bias"]

    def drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout) if self.dropout else x
