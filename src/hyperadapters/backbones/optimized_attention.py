"""Attention with relative position bias (T5): mask and bias combined once per stack instead of once per layer."""

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from hyperadapters.backbones.caches import cache_in
from hyperadapters.backbones.optimized_dropout import _ATTENTION


def combine_masks(backbone: PreTrainedModel) -> list[str]:
    """Make the first layer of a stack add mask and position bias, for all layers of the stack.

    T5 in transformers passes bias and mask from layer to layer. Every layer adds them again, and keeps the sum, of
    shape (batch, heads, queries, keys), for the backward pass. The sum is the same in every layer: here a pre-hook on
    each attention passes it on as the bias, without a mask. Results and parameters do not change.

    Args:
        backbone: a model of the transformers library; it is changed in place.

    Returns:
        The paths of the attention modules that got the hook: none for a family that does not pass a bias on.
    """
    paths = [name for name, module in backbone.named_modules() if _hands_bias_on(module)]
    for path in paths:
        backbone.get_submodule(path).register_forward_pre_hook(_combine, with_kwargs=True)
    return paths


def _hands_bias_on(module: nn.Module) -> bool:
    """Return whether a module is an attention that takes a mask and a position bias, and can compute the bias."""
    return hasattr(module, "compute_bias") and {"mask", "position_bias"} <= {
        *inspect.signature(module.forward).parameters
    }


def _combine(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Replace an attention's mask and position bias by their sum (a forward pre-hook).

    Returns:
        The attention's new arguments, or None to leave them unchanged. The decision depends only on what is the same in
        every layer of the stack.
    """
    mask, cache = kwargs.get("mask"), cache_in(kwargs)
    queries: Float[Tensor, "batch queries d_model"] = args[0]
    if module.config._attn_implementation not in ("sdpa", _ATTENTION):
        return None
    if mask is None:
        fresh = cache is None or (not cache.is_compileable and cache.get_seq_length(module.layer_idx) == 0)
        if not (module.is_causal and fresh and queries.shape[1] > 1):
            return None
        mask = torch.ones(queries.shape[1], queries.shape[1], dtype=torch.bool, device=queries.device).tril()[
            None, None
        ]
    bias = kwargs.get("position_bias")
    if bias is None:
        bias = _combined(module, queries, mask, cache)
    return args, {**kwargs, "position_bias": bias, "mask": None, "is_causal": False}


def _combined(
    module: Any, queries: Float[Tensor, "batch queries d_model"], mask: Tensor, cache: Any
) -> Float[Tensor, "#batch #heads #queries keys"]:
    """Return the position bias where the mask allows attention, and the lowest number elsewhere.

    The bias is 0 in an attention that has none of its own (T5's cross-attention).
    """
    bias = queries.new_zeros(1, 1, 1, 1)
    if module.has_relative_attention_bias:
        past = 0 if cache is None else cache.get_seq_length(module.layer_idx)
        bias = module.compute_bias(queries.shape[1], mask.shape[-1], device=queries.device, past_seen_tokens=past)
    bias_and_mask = torch.where(mask, bias, _lowest(bias)) if mask.dtype == torch.bool else bias + mask
    return bias_and_mask.contiguous()  # otherwise every layer would copy it


def _lowest(bias: Tensor) -> float:
    """Return the lowest number that is finite both in the bias's dtype and in the one that attention computes in."""
    kind = bias.device.type
    types = [bias.dtype, torch.get_autocast_dtype(kind)] if torch.is_autocast_enabled(kind) else [bias.dtype]
    return max(torch.finfo(dtype).min for dtype in types)
