"""Attention with relative position bias (T5's): mask and bias combined once a stack instead of once a layer."""

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from hyperadapters.backbones.optimized_dropout import ATTENTION


def combine_masks(backbone: PreTrainedModel) -> list[str]:
    """Make the first attention of each kind in a stack combine its mask with the position bias, for all layers.

    T5 in transformers hands bias and mask from layer to layer and every layer adds them up anew, keeping the sum of
    shape (batch, heads, queries, keys) for the backward pass. The sum is the same in every layer: a pre-hook passes it
    on as the bias, and no mask beside it. Values, keys and parameters stay as they are.

    Returns:
        The paths of the attention modules concerned: none where a family has no bias that is handed on.
    """
    paths = [name for name, module in backbone.named_modules() if hands_bias_on(module)]
    for path in paths:
        backbone.get_submodule(path).register_forward_pre_hook(combine, with_kwargs=True)
    return paths


def hands_bias_on(module: nn.Module) -> bool:
    """Whether a module is attention that takes a mask and a position bias, and can compute the latter."""
    return hasattr(module, "compute_bias") and {"mask", "position_bias"} <= {
        *inspect.signature(module.forward).parameters
    }


def combine(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The pre-hook: what is decided here depends on nothing that differs from layer to layer."""
    mask, cache = kwargs.get("mask"), kwargs.get("past_key_values")
    queries: Float[Tensor, "batch queries d_model"] = args[0]
    if module.config._attn_implementation not in ("sdpa", ATTENTION):
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
        bias = combined(module, queries, mask, cache)
    return args, {**kwargs, "position_bias": bias, "mask": None, "is_causal": False}


def combined(
    module: Any, queries: Float[Tensor, "batch queries d_model"], mask: Tensor, cache: Any
) -> Float[Tensor, "#batch #heads #queries keys"]:
    """Position bias where the mask lets attend, and the lowest number elsewhere; without a bias of its own, 0."""
    bias = queries.new_zeros(1, 1, 1, 1)
    if module.has_relative_attention_bias:
        past = 0 if cache is None else cache.get_seq_length(module.layer_idx)
        bias = module.compute_bias(queries.shape[1], mask.shape[-1], device=queries.device, past_seen_tokens=past)
    sum_of_both = torch.where(mask, bias, lowest(bias)) if mask.dtype == torch.bool else bias + mask
    return sum_of_both.contiguous()  # every layer would copy it otherwise


def lowest(bias: Tensor) -> float:
    """The lowest finite number of both the bias's type and the one that attention computes in."""
    kind = bias.device.type
    types = [bias.dtype, torch.get_autocast_dtype(kind)] if torch.is_autocast_enabled(kind) else [bias.dtype]
    return max(torch.finfo(dtype).min for dtype in types)
