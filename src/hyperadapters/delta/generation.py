"""When weights are made: what one pass generated, and whether it may serve again."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hyperadapters._utils import InputError
from hyperadapters.layers import SINGLE_ADAPTER, AdapterIndex


class GeneratedWeights:
    """What the parts generated for one pass, and for which rows. A copy of a Delta starts with an empty one."""

    def __init__(
        self,
        generated: dict[str, Any] | None = None,
        rows: AdapterIndex = SINGLE_ADAPTER,
        key: tuple[Any, ...] | None = None,
    ) -> None:
        self.generated, self.rows, self.key = generated or {}, rows, key
        self.served: tuple[str, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> "GeneratedWeights":
        return GeneratedWeights()


def autocast_of(device: str) -> torch.dtype | None:
    """The type that operations on such a device are cast to; None without autocast."""
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


CACHES = ("past_key_values", "cache_params", "state")
"""What transformers calls the argument that a pass goes on from: keys and values, or a state-space model's state."""


def continues_from_cache(kwargs: Mapping[str, Any]) -> bool:
    """Whether a pass with these arguments goes on from earlier tokens. Compiled code does not look."""
    return not torch.compiler.is_compiling() and any(holds_tokens(kwargs.get(name)) for name in CACHES)


def holds_tokens(cache: Any) -> bool:
    """Whether a cache has seen a token."""
    if cache is None:
        return False
    try:
        return bool(cache.get_seq_length() > 0)
    except (AttributeError, ValueError):  # it keeps states, and counts no tokens
        states = [getattr(layer, "has_previous_state", ()) for layer in getattr(cache, "layers", [cache])]
        return any(any(state.values()) if isinstance(state, dict) else bool(state) for state in states)


def tensors_in(output: Any) -> list[Tensor]:
    """The tensors of a stack's output, those of its tuples too."""
    if isinstance(output, Tensor):
        return [output]
    items = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return [tensor for item in items for tensor in tensors_in(item)]


def batch_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Rows of the batch that a stack was called with."""
    inputs = [kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args, *kwargs.values()]
    return next(len(value) for value in inputs if isinstance(value, Tensor))


def check_rows(tasks: int, batch: int, stack: str) -> None:
    """Raise InputError unless every row has its task. A decoder's rows may be repeated, as beams and labels are."""
    if batch != tasks and (stack == "encoder" or batch % tasks):
        raise InputError(
            f"the batch has {batch} rows, but {tasks} tasks were given to `delta.rows`: give one for each row."
        )
