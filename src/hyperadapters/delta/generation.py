"""When a Delta's adapter weights are computed, and when computed ones are used again.

All weights of a Delta are computed together, in one contraction at the start of a forward pass, so something must
detect the start. A hook on the backbone's `forward` is not enough, because `generate` calls encoder and decoder
separately. A pre-hook on every stack therefore decides:

| a stack is called | weights |
|---|---|
| the first stack, without a cache that holds tokens | computed anew |
| the first stack, continuing from a cache (decoding) | kept, unless a row below applies |
| a later stack (the decoder after its encoder) | kept, unless a row below applies |
| with gradients, a second time with the same weights | computed anew: a backward pass may have freed their graph |
| for other rows than the weights were computed for | computed anew |
| after an update, or in another autocast or gradient mode | computed anew |
| (a layer is called by itself, outside any stack) | computed if there are none |

The weights are kept after the pass, because gradient checkpointing computes layers again in the backward pass. Other
passes may have replaced them by then, so the gradient that reaches a stack's output restores the weights of its pass.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import continues_from_cache
from hyperadapters.delta.task_rows import _TaskRows
from hyperadapters.layers import SINGLE_ADAPTER, AdapterIndex

_Made = Mapping[str, Any]
"""What `Part.generate` returned, by the part's name."""


class _GeneratedWeights:
    """The weights that the parts computed for one pass, and the rows they are for. It is empty in a copy of a Delta.

    Args:
        made: what each part computed.
        rows: the index of the rows that the weights are for.
        state: everything else that they depend on.
    """

    def __init__(
        self, made: _Made | None = None, rows: AdapterIndex = SINGLE_ADAPTER, state: tuple[Any, ...] | None = None
    ) -> None:
        self.made, self.rows, self.state = made or {}, rows, state
        self.served: tuple[str, ...] = ()
        """The stacks that have used these weights with gradients enabled."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_GeneratedWeights":
        return _GeneratedWeights()


class _Generation:
    """The current weights of a Delta's parts, computed when a pass needs them.

    Args:
        make: computes the weights of all parts for the rows of a batch.
        parameters: returns the tensors that the weights are computed from.
        rows: knows which adapters the rows of the next pass use.
        first_stack: the stack that a forward pass begins with.
    """

    def __init__(
        self,
        make: Callable[[AdapterIndex], _Made],
        parameters: Callable[[], Iterable[Tensor]],
        rows: _TaskRows,
        first_stack: str,
    ) -> None:
        self._make, self._parameters, self._rows, self._first_stack = make, parameters, rows, first_stack
        self.current = _GeneratedWeights()

    def of_part(self, part: str) -> Any:
        """Return what a part computed for the current pass."""
        if part not in self.current.made:  # a layer is called by itself, outside any stack
            self.renew()
        return self.current.made[part]

    def renew(self) -> None:
        """Compute all weights from the current parameters, for the rows of the current pass.

        Raises:
            InputError: the Delta holds several tasks, and the rows' tasks were not given.
        """
        rows = self._rows.index_for_pass()
        self.current = _GeneratedWeights(self._make(rows), rows, self._state())

    def forget(self) -> None:
        """Drop the current weights."""
        self.current = _GeneratedWeights()

    def before_stack(self, stack: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Ensure that the weights are those of this pass (a forward pre-hook of every stack)."""
        first = stack == self._first_stack and not continues_from_cache(kwargs)
        if first or self._outdated(stack):  # in this order: compiled code must not depend on how the last pass ended
            self.renew()
        self.current.served = (*self.current.served, stack) if torch.is_grad_enabled() else ()
        if self.current.rows.count is not None:
            _check_row_count(self.current.rows.count, _batch_size(args, kwargs), stack)

    def after_stack(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Make the backward pass of this output restore this pass's weights (a forward hook of every stack)."""
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            for tensor in _tensors_in(output):
                if tensor.requires_grad:
                    tensor.register_hook(partial(self._put_back, self.current))  # type: ignore[no-untyped-call]

    def _put_back(self, earlier: _GeneratedWeights, gradient: Tensor) -> None:
        self.current = earlier

    def _outdated(self, stack: str) -> bool:
        used_up = torch.is_grad_enabled() and stack in self.current.served
        return used_up or self._rows.differ_from(self.current.rows) or self.current.state != self._state()

    def _state(self) -> tuple[Any, ...]:
        """Return what the weights depend on besides the rows: parameter versions and PyTorch's modes."""
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


def _tensors_in(output: Any) -> list[Tensor]:
    """Return the tensors of a stack's output, including those inside tuples and mappings."""
    if isinstance(output, Tensor):
        return [output]
    items = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return [tensor for item in items for tensor in _tensors_in(item)]


def _batch_size(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Return the number of rows of the batch that a stack was called with."""
    inputs = [kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *args, *kwargs.values()]
    return next(len(value) for value in inputs if isinstance(value, Tensor))


def _check_row_count(tasks: int, batch: int, stack: str) -> None:
    """Raise InputError unless there is one task per row.

    A decoder may have a multiple of the rows, because beams and candidate labels repeat them.
    """
    if batch != tasks and (stack == "encoder" or batch % tasks):
        raise InputError(
            f"the batch has {batch} rows, but {tasks} tasks were given to `delta.rows`: give one task per row."
        )
