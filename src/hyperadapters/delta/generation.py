"""When a Delta's weights are made, and whether those that are there may serve.

All weights of a Delta come from one contraction, so something must say when a pass begins. A hook on the backbone's
`forward` is not enough, because `generate` calls encoder and decoder by themselves. So a pre-hook on every stack asks:

| a stack is entered | weights |
|---|---|
| the first stack, without a cache that holds tokens | made anew |
| the first stack, going on from a cache (decoding) | kept, unless something below has changed |
| a later stack (the decoder after its encoder) | kept, unless something below has changed |
| with gradients, by weights that served this stack already | made anew: a backward pass may have freed their graph |
| for other rows than they were made for | made anew |
| after an update, another autocast or gradient mode | made anew |
| a layer by itself, outside any stack | made anew, if there are none |

They stay after the pass, because gradient checkpointing computes layers again in the backward pass. Other passes may
have come between by then, so the gradient that reaches a stack's output puts back the weights of its own pass.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.delta.task_rows import TaskRows
from hyperadapters.layers import SINGLE_ADAPTER, AdapterIndex

Made = Mapping[str, Any]
"""What every part made, by the part's name."""


class GeneratedWeights:
    """What the parts made for one pass, and for which rows. A copy of a Delta starts with an empty one."""

    def __init__(
        self, made: Made | None = None, rows: AdapterIndex = SINGLE_ADAPTER, state: tuple[Any, ...] | None = None
    ) -> None:
        self.made, self.rows, self.state = made or {}, rows, state
        self.served: tuple[str, ...] = ()
        """Stacks that have computed with them, with gradients."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "GeneratedWeights":
        return GeneratedWeights()


class Generation:
    """Makes the weights of a Delta's parts when a pass needs them.

    Args:
        make: makes the weights of all parts for the rows of a batch.
        parameters: gives the tensors that the weights are made from.
        rows: knows which adapters the rows of the next pass use.
        first_stack: the stack with which a pass begins.
    """

    def __init__(
        self,
        make: Callable[[AdapterIndex], Made],
        parameters: Callable[[], Iterable[Tensor]],
        rows: TaskRows,
        first_stack: str,
    ) -> None:
        self._make, self._parameters, self._rows, self._first_stack = make, parameters, rows, first_stack
        self.current = GeneratedWeights()

    def of_part(self, part: str) -> Any:
        """Return what a part made for the pass under way."""
        if part not in self.current.made:  # a layer called by itself, outside any stack
            self.renew()
        return self.current.made[part]

    def renew(self) -> None:
        """Make all weights from the parameters as they are now, for the rows under way.

        Raises:
            InputError: the Delta holds several tasks, and was not told which of them the rows use.
        """
        rows = self._rows.index_for_pass()
        self.current = GeneratedWeights(self._make(rows), rows, self._state())

    def forget(self) -> None:
        """Drop the weights that are there."""
        self.current = GeneratedWeights()

    def before_stack(self, stack: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Act as the pre-hook of a stack: see to it that the weights are those of this pass."""
        first = stack == self._first_stack and not continues_from_cache(kwargs)
        if first or self._outdated(stack):  # in this order: compiled code must not depend on how the last pass ended
            self.renew()
        self.current.served = (*self.current.served, stack) if torch.is_grad_enabled() else ()
        if self.current.rows.count is not None:
            check_row_count(self.current.rows.count, batch_size(args, kwargs), stack)

    def after_stack(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Act as the hook after a stack: let its backward pass find the weights of this pass."""
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            for tensor in tensors_in(output):
                if tensor.requires_grad:
                    tensor.register_hook(partial(self._put_back, self.current))  # type: ignore[no-untyped-call]

    def _put_back(self, earlier: GeneratedWeights, gradient: Tensor) -> None:
        self.current = earlier

    def _outdated(self, stack: str) -> bool:
        used_up = torch.is_grad_enabled() and stack in self.current.served
        return used_up or self._rows.differ_from(self.current.rows) or self.current.state != self._state()

    def _state(self) -> tuple[Any, ...]:
        """Return what the weights depend on beside the rows: parameter versions and the modes of PyTorch."""
        if torch.compiler.is_compiling():
            return ()
        tensors = [*self._parameters()]
        casts = [_autocast_dtype(kind) for kind in sorted({tensor.device.type for tensor in tensors})]
        modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *casts)
        return (*modes, *((id(tensor), tensor.data_ptr(), tensor._version) for tensor in tensors))


def _autocast_dtype(device: str) -> torch.dtype | None:
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


CACHES = ("past_key_values", "cache_params", "state")
"""What transformers calls the argument that a pass continues from: keys and values, or a state-space model's state."""


def continues_from_cache(kwargs: Mapping[str, Any]) -> bool:
    """Return whether a pass with these arguments continues earlier tokens. Compiled code does not look."""
    return not torch.compiler.is_compiling() and any(_holds_tokens(kwargs.get(name)) for name in CACHES)


def _holds_tokens(cache: Any) -> bool:
    if cache is None:
        return False
    try:
        return bool(cache.get_seq_length() > 0)
    except (AttributeError, ValueError):  # it keeps states, and counts no tokens
        states = [getattr(layer, "has_previous_state", ()) for layer in getattr(cache, "layers", [cache])]
        return any(any(state.values()) if isinstance(state, dict) else bool(state) for state in states)


def tensors_in(output: Any) -> list[Tensor]:
    """Return the tensors of a stack's output, those inside tuples and mappings too."""
    if isinstance(output, Tensor):
        return [output]
    items = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return [tensor for item in items for tensor in tensors_in(item)]


def batch_size(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Return the number of rows of the batch that a stack was called with."""
    inputs = [kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args, *kwargs.values()]
    return next(len(value) for value in inputs if isinstance(value, Tensor))


def check_row_count(tasks: int, batch: int, stack: str) -> None:
    """Raise InputError unless every row has its task. A decoder's rows may be repeated, as beams and labels are."""
    if batch != tasks and (stack == "encoder" or batch % tasks):
        raise InputError(
            f"the batch has {batch} rows, but {tasks} tasks were given to `delta.rows`: give one for each row."
        )
