"""The cache of earlier tokens: which argument or output of a model it is, and whether it holds tokens.

transformers renamed `past_key_values` to `cache` in 5.24, and state-space models had names of their own before. Code
that reads or passes a cache finds its name here, and nowhere else.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_NAMES = ("cache", "past_key_values", "cache_params", "state", "mems", "past_buckets_states")
"""Names that transformers gives to the cache, the newest first: keys and values, or a recurrent model's state."""


def cache_in(values: Mapping[str, Any]) -> Any:
    """Return the cache among a model's keyword arguments or outputs, or None.

    A cache under a name that is not known is recognized by its method `get_seq_length`.

    Args:
        values: keyword arguments of a model or of one of its modules, or a model's output.
    """
    for name in _NAMES:
        if values.get(name) is not None:
            return values[name]
    return next((value for value in values.values() if hasattr(value, "get_seq_length")), None)


def cache_argument(model: nn.Module) -> str:
    """Return the name under which a model takes a cache of earlier tokens.

    Args:
        model: a model of the transformers library, or a module of one.

    Raises:
        LookupError: it takes none.
    """
    taken = inspect.signature(model.forward).parameters
    known = [name for name in _NAMES if name in taken]
    if not known:
        raise LookupError(f"{type(model).__name__}.forward takes no cache under any of the names {', '.join(_NAMES)}.")
    return known[0]


def cached_tokens(cache: Any) -> int | None:
    """Return how many tokens a cache holds, or None for a recurrent state, which does not count them.

    Args:
        cache: any cache of the transformers library.
    """
    try:
        return int(cache.get_seq_length())
    except (AttributeError, ValueError):
        return None


def holds_tokens(cache: Any) -> bool:
    """Return whether a cache holds tokens already.

    Args:
        cache: any cache of the transformers library, or None.
    """
    if cache is None:
        return False
    count = cached_tokens(cache)
    if count is not None:
        return count > 0
    if isinstance(cache, list | tuple | Tensor):  # RWKV, XLNet: tensors, from the second pass on
        return len(cache) > 0
    states = [getattr(layer, "has_previous_state", ()) for layer in getattr(cache, "layers", [cache])]
    if any(any(state.values()) if isinstance(state, dict) else bool(state) for state in states):
        return True
    return bool(getattr(cache, "seqlen_offset", 0))  # xLSTM


def continues_from_cache(kwargs: Mapping[str, Any]) -> bool:
    """Return whether a pass with these arguments continues from cached tokens; False in compiled code.

    Args:
        kwargs: a stack's keyword arguments.
    """
    return not torch.compiler.is_compiling() and holds_tokens(cache_in(kwargs))
