"""A T5 written out from its paper (Raffel et al., arXiv:1910.10683v4, §2.1), with the places that methods change.

It computes on tensors alone, by the names that they have in a state dict, and calls no model.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout

Place = tuple[str, int, str]
"""Where an adapter sits: stack, layer from 0, position."""

STACKS = ("encoder", "decoder")
SUBLAYERS = {
    "encoder": ("SelfAttention", "DenseReluDense"),
    "decoder": ("SelfAttention", "EncDecAttention", "DenseReluDense"),
}
POSITION = {"SelfAttention": "attention", "DenseReluDense": "feed_forward"}
"""The positions by the sub-layer that the adapter follows. None follows cross-attention."""


@dataclass(frozen=True)
class PlainT5:
    """A T5 as a function of its tensors."""

    config: Any
    """Sizes: `num_layers`, `num_heads`, `d_model`, and those of the relative positions."""
    tensors: Mapping[str, Tensor]
    adapters: Mapping[Place, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    """What is applied to a sub-layer's output y, before its dropout and its residual."""
    biases: Mapping[str, Tensor] = field(default_factory=dict)
    """BitFit's biases, by the path of the module whose output they are added to."""
    prompt: Tensor | None = None
    """Vectors in front of the encoder's embeddings, (prompt_length, d_model)."""
    dropout: float = 0.0
    after_residual: bool = False
    """Apply adapters to x + y instead, behind the residual, as the library adapters 1.3.0 does in its Compacter++."""

    def logits(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """The logits of every target token; the decoder reads the target moved by one, 0 in front."""
        table = self.tensors["shared.weight"]
        source, seen = table[input_ids], attention_mask.bool()
        if self.prompt is not None:
            rows = len(source)
            source = torch.cat([self.prompt.expand(rows, -1, -1), source], dim=1)
            seen = torch.cat([seen.new_ones(rows, len(self.prompt)), seen], dim=1)
        seen = seen[:, None, None, :]
        memory = self.stack("encoder", source, seen)
        length = labels.shape[1]
        past = torch.ones(length, length, dtype=torch.bool).tril()
        shifted = torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1]], dim=1)
        states = self.stack("decoder", table[shifted], past, memory, seen)
        return states * self.config.d_model**-0.5 @ table.T + self.biases.get("lm_head", 0)

    def stack(
        self, name: str, x: Tensor, seen: Tensor, memory: Tensor | None = None, memory_seen: Tensor | None = None
    ) -> Tensor:
        """One stack: sub-layers x + dropout(F(LN(x))), an adapter applied to F's output, and the final norm."""
        bias = self.position_bias(name, x.shape[1])
        x = self.drop(x)
        for layer in range(self.config.num_layers):
            for number, kind in enumerate(SUBLAYERS[name]):
                path = f"{name}.block.{layer}.layer.{number}"
                normed, inner = self.norm(x, f"{path}.layer_norm"), f"{path}.{kind}"
                if kind == "SelfAttention":
                    y = self.attention(normed, normed, inner, seen, bias)
                elif kind == "EncDecAttention":
                    y = self.attention(normed, memory, inner, memory_seen, 0)
                else:
                    y = self.linear(self.drop(self.linear(normed, f"{inner}.wi").relu()), f"{inner}.wo")
                adapter = self.adapters.get((name, layer, POSITION.get(kind, "")))
                if adapter is not None and self.after_residual:
                    x = adapter(x + self.drop(y))
                else:
                    x = x + self.drop(y if adapter is None else adapter(y))
        return self.drop(self.norm(x, f"{name}.final_layer_norm"))

    def attention(
        self, x: Tensor, memory: Tensor | None, path: str, seen: Tensor | None, bias: Tensor | float
    ) -> Tensor:
        """Multi-head attention of x to memory; T5 does not divide the scores by √d."""
        sources = {"q": x, "k": memory, "v": memory}
        q, k, v = (
            self.linear(source, f"{path}.{name}").unflatten(-1, (self.config.num_heads, -1)).transpose(1, 2)
            for name, source in sources.items()
        )
        scores = (q @ k.mT + bias).masked_fill(~seen, -math.inf)
        weights = self.drop(scores.exp() / scores.exp().sum(-1, keepdim=True))
        return self.linear((weights @ v).transpose(1, 2).flatten(-2), f"{path}.o")

    def linear(self, x: Tensor, path: str) -> Tensor:
        return x @ self.tensors[f"{path}.weight"].T + self.biases.get(path, 0)

    def norm(self, x: Tensor, path: str) -> Tensor:
        """The norm without a mean: x / √(mean of x² + ε), scaled."""
        scaled = self.tensors[f"{path}.weight"] * x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled + self.biases.get(path, 0)

    def drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout) if self.dropout else x

    def position_bias(self, stack: str, length: int) -> Tensor:
        """Each head's bias for every pair of positions, (heads, queries, keys); all layers share it."""
        places = [[self.bucket(key - query, stack) for key in range(length)] for query in range(length)]
        path = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        return self.tensors[path][torch.tensor(places)].permute(2, 0, 1)

    def bucket(self, distance: int, stack: str) -> int:
        """The number of a distance's bias: one each for short distances, logarithmic ones up to the furthest."""
        buckets, furthest = self.config.relative_attention_num_buckets, self.config.relative_attention_max_distance
        first = 0
        if stack == "encoder":  # it looks both ways
            buckets //= 2
            first, distance = (buckets if distance > 0 else 0), -abs(distance)
        distance, exact = max(0, -distance), buckets // 2
        if distance < exact:
            return first + distance
        share = math.log(distance / exact) / math.log(furthest / exact)
        return first + min(buckets - 1, exact + int(share * (buckets - exact)))


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over all target tokens of −log p."""
    chosen = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return (logits.exp().sum(-1).log() - chosen).mean()
