"""Dropout of a backbone with masks that are cheap to draw on a CPU, in its modules and in its attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from hyperadapters.layers import FastDropout, fast_dropout

_ATTENTION = "sdpa_fast_dropout"
"""The name under which `attention` is registered with transformers."""


def set_fast_dropout(backbone: PreTrainedModel, on: bool) -> None:
    """Draw a backbone's dropout masks from random 16-bit numbers (`layers/dropout_masks.py`), or as PyTorch does.

    The dropout probability is the same to within 2⁻¹⁷. The masks come from the same seeded generator, but are different
    ones. Only training on a CPU is affected; parameters, state-dict keys and the saved configuration do not change.
    Attention implementations other than scaled-dot-product ("sdpa") keep their own dropout.

    Args:
        backbone: a model of the transformers library; it is changed in place.
        on: use the fast masks; False: go back to PyTorch's.
    """
    old, new = (nn.Dropout, FastDropout) if on else (FastDropout, nn.Dropout)
    for module in backbone.modules():
        if type(module) is old:
            module.__class__ = new  # in place, because an adapter's hooks may be on it
    old_attention, new_attention = ("sdpa", _ATTENTION) if on else (_ATTENTION, "sdpa")
    if backbone.config._attn_implementation == old_attention:
        backbone.set_attn_implementation(new_attention)


@contextmanager
def with_dropout_masks(backbone: PreTrainedModel, *, fast: bool) -> Iterator[None]:
    """Draw a backbone's dropout masks as `set_fast_dropout` says inside this context, and then as before.

    Args:
        backbone: a model of the transformers library.
        fast: use the fast masks; False: PyTorch's.
    """
    classes = {module: type(module) for module in backbone.modules() if isinstance(module, nn.Dropout)}
    attention = backbone.config._attn_implementation
    set_fast_dropout(backbone, fast)
    try:
        yield
    finally:
        for module, kept in classes.items():
            module.__class__ = kept
        if backbone.config._attn_implementation != attention:
            backbone.set_attn_implementation(attention)


def _attention(
    module: nn.Module,
    query: Float[Tensor, "batch heads queries d_kv"],
    key: Float[Tensor, "batch heads keys d_kv"],
    value: Float[Tensor, "batch heads keys d_kv"],
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Float[Tensor, "batch queries heads d_kv"], None]:
    """Compute scaled-dot-product attention, softmax(Q·Kᵀ·scaling + bias)·V, with fast dropout on a CPU.

    It calls the implementation of transformers, except in training with dropout on a CPU, where PyTorch has no fused
    kernel. There the formula is computed step by step, with `fast_dropout` of the probabilities. Arguments are those
    of an attention function of transformers.
    """
    fused = dropout == 0 or query.device.type != "cpu" or query.shape[1] != key.shape[1]
    if fused or torch.compiler.is_compiling():
        output: Tensor
        output, _ = sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            position_bias=position_bias,
            **options,
        )
        return output, None
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is None and causal and query.shape[2] > 1:
        attention_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attention_mask is not None:
        scores = _masked(scores, attention_mask)
    probabilities = fast_dropout(scores.softmax(-1), dropout)
    return (probabilities @ value).transpose(1, 2).contiguous(), None


def _masked(
    scores: Float[Tensor, "batch heads queries keys"], mask: Tensor
) -> Float[Tensor, "batch heads queries keys"]:
    """Apply a mask to attention scores: a boolean mask is True where attention is allowed, a float mask is added."""
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores + mask


AttentionInterface.register(_ATTENTION, _attention)

AttentionMaskInterface.register(_ATTENTION, sdpa_mask)
