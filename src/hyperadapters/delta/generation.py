"""When a Delta's adapter weights are computed, and when computed ones are used again.

All weights of a Delta are computed together, in one contraction at the start of a forward pass. Hooks on the model and
on its stacks detect the start:

| what is called | weights |
|---|---|
| the first stack, without a cache that holds tokens | computed anew |
| a later stack (the decoder after its encoder) in the same call of the model | kept, unless a row below applies |
| a later stack otherwise (with kept encoder outputs) | computed anew |
| a stack that continues from a cache (decoding) | kept, unless a row below applies |
| with gradients, a second time with the same weights | computed anew: a backward pass may have freed their graph |
| for other rows than the weights were computed for | computed anew |
| after an update, or in another autocast or gradient mode | computed anew |

Hooks can be passed by: `model.forward(...)` and a layer called by itself run none of them. Every module that uses
weights therefore checks them when it uses them (`_Generation.used`):

| where the module runs | weights |
|---|---|
| inside a stack whose hooks ran | those of the stack's pass |
| outside (a head; `model.forward(...)`; a layer by itself) | kept once per module, if nothing above has changed |
| in a backward pass that recomputes a layer (checkpointing) | those of the layer's own forward pass |
| the same with `use_reentrant=True` | computed anew for every recomputed part, for the rows of its forward pass |

The weights are kept after the pass, because gradient checkpointing computes layers again in the backward pass. Other
passes may have replaced them by then, so the gradient that reaches a stack's output restores the weights of its pass.

Every thread has its own weights. Compiled code cannot see whether a tensor has changed: a piece of it that does not
find its stack running computes weights of its own.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError, PerThread, Turn
from hyperadapters.backbones import continues_from_cache
from hyperadapters.delta.task_rows import _TaskRows
from hyperadapters.layers import SINGLE_ADAPTER, AdapterIndex

_Made = Mapping[str, Any]
"""What `Part.generate` returned, by the part's name."""

_REENTRANT = "CheckpointFunctionBackward"
"""The name of the autograd node that recomputes a layer under checkpointing with `use_reentrant=True`."""

_RECOMPUTES = "_recomputation_hook"
"""The name of the hook on saved tensors under which checkpointing recomputes a layer with `use_reentrant=False`."""


class _GeneratedWeights:
    """The weights that the parts computed for one pass, and what has used them. It is empty in a copy of a Delta.

    Args:
        made: what each part computed.
        rows: the index of the rows that the weights are for.
        tensors: identity and version of every tensor that they were computed from.
        modes: PyTorch's modes when they were computed.
    """

    def __init__(
        self,
        made: _Made | None = None,
        rows: AdapterIndex = SINGLE_ADAPTER,
        tensors: tuple[Any, ...] = (),
        modes: tuple[Any, ...] = (),
    ) -> None:
        self.made, self.rows, self.tensors, self.modes = made or {}, rows, tensors, modes
        self.stacks: tuple[str, ...] = ()
        """The stacks that have used these weights with gradients enabled."""
        self.used: set[int] = set()
        """The numbers of the places that have used these weights."""
        self.checked = False
        """Whether the rows of a pass with these weights were counted and fit."""
        self.traced = torch.compiler.is_compiling()
        """Whether compiled code made them, while it was traced."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _GeneratedWeights, ()


class _ThreadState(PerThread):
    """The pass that a thread computes."""

    def __init__(self) -> None:
        self.weights = _GeneratedWeights()
        """The weights made last."""
        self.of_model: _GeneratedWeights | None = None
        """The weights that the first stack made in the running call of the model."""
        self.in_model = False
        """Whether the model is called, and its hooks ran."""
        self.stack = ""
        """The stack that runs, if its hooks ran."""
        self.with_gradients = False
        """Whether gradients were enabled when the stack began."""
        self.lost_gradients = False
        """Whether weights were used inside the stack with gradients disabled although it began with them enabled."""
        self.restored = -1
        """The number of the backward pass that restored the weights."""
        self.recomputes: Any = None
        """The autograd node whose part of the forward pass is recomputed, under `use_reentrant=True`."""


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
        self._thread = _ThreadState()
        self._making = Turn()
        self._computing: set[int] = set()
        """Identifiers of the threads in which a stack runs."""

    @property
    def current(self) -> _GeneratedWeights:
        """The weights that this thread made last."""
        return self._thread.weights

    @property
    def computed_elsewhere(self) -> bool:
        """Whether a pass runs in another thread."""
        alive = {thread.ident for thread in threading.enumerate()}
        return bool((self._computing & alive) - {threading.get_ident()})

    def used(self, part: str, index: int, number: int) -> Any:
        """Return what a part computed, for the place in the backbone that uses it now.

        Args:
            part: the part's name.
            index: which of the things that the part computed.
            number: of the place; every place has its own.

        Raises:
            InputError: the weights must be computed, and the rows' tasks were not given; or a layer is recomputed in a
                backward pass, and it is not known for which rows.
        """
        thread = self._thread
        if torch.compiler.is_compiling():
            if not thread.stack:
                weights = thread.weights  # what was made outside this compiled code may be stale
                if not weights.traced or part not in weights.made or number in weights.used:
                    self.renew()
                thread.weights.used.add(number)
            return thread.weights.made[part][index]
        if _recomputes():
            self._prepare_recomputation(part)
        else:
            if part not in thread.weights.made or self._unusable(number):
                self.renew()
            thread.lost_gradients |= thread.with_gradients and not torch.is_grad_enabled()
        thread.weights.used.add(number)
        return thread.weights.made[part][index]

    def renew(self, rows: AdapterIndex | None = None) -> None:
        """Compute all weights from the current parameters.

        Args:
            rows: the index of the rows; None: as chosen where the pass runs.

        Raises:
            InputError: the Delta holds several tasks, and the rows' tasks were not given.
        """
        rows = self._rows_of_pass() if rows is None else rows
        state = self._state()  # before the weights, so that a change meanwhile is noticed
        self._making.take()  # torch.compile cannot trace `with` here
        try:
            made = self._make(rows)
        finally:
            self._making.give()
        self._thread.weights = _GeneratedWeights(made, rows, *state)

    def forget(self) -> None:
        """Drop the current weights of this thread."""
        self._thread.weights, self._thread.of_model = _GeneratedWeights(), None

    def before_model(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Note that the model is called (a forward pre-hook of a model with several stacks)."""
        self._thread.in_model, self._thread.of_model = True, None

    def after_model(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Note that the call of the model has ended (a forward hook that is always called)."""
        self._thread.in_model, self._thread.of_model = False, None

    def before_stack(self, stack: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Ensure that the weights are those of this pass (a forward pre-hook of every stack)."""
        thread = self._thread
        if not torch.compiler.is_compiling():
            self._computing.add(threading.get_ident())
        thread.stack, thread.recomputes, thread.lost_gradients = stack, None, False
        thread.with_gradients = torch.is_grad_enabled() and module.training
        continues = continues_from_cache(kwargs)
        if not self._keeps(stack, continues):  # compiled code must not depend on how the last pass ended
            self.renew()
        weights = thread.weights
        if thread.in_model and stack == self._first_stack:
            thread.of_model = weights
        weights.stacks = (*weights.stacks, stack) if torch.is_grad_enabled() else ()
        weights.used.clear()
        if weights.rows.count is not None:
            checked = continues and weights.checked
            _check_row_count(weights.rows.count, args, kwargs, may_repeat=stack != "encoder", checked=checked)
            weights.checked = True

    def after_stack(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Make the backward pass of this output restore this pass's weights (a hook of every stack, always called).

        Raises:
            InputError: checkpointing with `use_reentrant=True` has cut the adapters off from the output.
        """
        thread = self._thread
        thread.stack = ""
        if torch.compiler.is_compiling():
            return
        self._computing.discard(threading.get_ident())
        thread.with_gradients, lost = False, thread.lost_gradients
        tensors = _tensors_in(output)
        if lost and tensors and not any(_leads_to(_REENTRANT, tensor) for tensor in tensors):
            raise InputError(
                "gradient checkpointing with use_reentrant=True gives these adapters no gradients, because the first "
                "layer's input needs none. Use use_reentrant=False, or call backbone.enable_input_require_grads()."
            )
        if torch.is_grad_enabled() and not _recomputes():
            for tensor in tensors:
                if tensor.requires_grad:
                    tensor.register_hook(partial(self._put_back, thread.weights))  # type: ignore[no-untyped-call]

    def _put_back(self, earlier: _GeneratedWeights, gradient: Tensor) -> None:
        self._thread.weights, self._thread.restored = earlier, torch._C._current_graph_task_id()

    def _keeps(self, stack: str, continues: bool) -> bool:
        """Return whether a stack that is called computes with the weights that there are."""
        weights = self._thread.weights
        if not continues and (stack == self._first_stack or self._thread.of_model is not weights):
            return False
        spent = torch.is_grad_enabled() and stack in weights.stacks
        return bool(weights.made) and not spent and not self._outdated(weights)

    def _unusable(self, number: int) -> bool:
        """Return whether a place in the backbone must not use the weights that there are."""
        thread, weights = self._thread, self._thread.weights
        if not thread.stack:
            return number in weights.used or self._outdated(weights)
        if number not in weights.used:
            return False
        # A layer that is applied several times, or an earlier pass that Ctrl-C interrupted. Weights that have gradients
        # may be used here with gradients disabled, but not the reverse.
        (versions, modes), known = self._state(), weights.modes
        return versions != weights.tensors or modes[0] > known[0] or self._rows.differ_from(weights.rows)

    def _outdated(self, weights: _GeneratedWeights) -> bool:
        return self._rows.differ_from(weights.rows) or (weights.tensors, weights.modes) != self._state()

    def _rows_of_pass(self) -> AdapterIndex:
        """Return the rows' index: as chosen where the pass runs, or of the forward pass that is recomputed."""
        if torch.compiler.is_compiling() or not _recomputes():
            return self._rows.index_for_pass()
        self._check_restored()
        return self._thread.weights.rows

    def _check_restored(self) -> None:
        """Raise InputError if a layer is recomputed and the rows of its forward pass are not known."""
        if self._rows.must_be_chosen and self._thread.restored != torch._C._current_graph_task_id():
            raise InputError(
                "gradient checkpointing recomputes layers here for rows that are not known any more. Call the model "
                "itself and not its `forward`, and checkpoint its layers, not the whole model."
            )

    def _prepare_recomputation(self, part: str) -> None:
        """Ensure that the weights are those of the forward pass of which a layer is recomputed in a backward pass."""
        thread = self._thread
        self._check_restored()
        node = _reentrant_node()
        if node is not None:  # its own backward pass frees the graph of the weights
            if thread.recomputes is not node:
                self.renew(thread.weights.rows)
                thread.recomputes = node
        elif part not in thread.weights.made:
            self.renew(thread.weights.rows)

    def _state(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return what the weights depend on besides the rows; in compiled code nothing, which cannot see it.

        Returns:
            What changes if a tensor that they are computed from is replaced or written; and PyTorch's modes: gradients,
            inference, and the autocast type of each device.
        """
        if torch.compiler.is_compiling():
            return (), ()
        tensors = [*self._parameters()]
        casts = [_autocast_dtype(kind) for kind in sorted({tensor.device.type for tensor in tensors})]
        versions = tuple((id(tensor), tensor.data_ptr(), tensor._version) for tensor in tensors)
        return versions, (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *casts)


def _recomputes() -> bool:
    """Return whether checkpointing computes a part of an earlier forward pass again, in a backward pass.

    A backward pass alone does not say so: hooks may run whole passes in it, as sentence-transformers' cached losses do.
    """
    if torch._C._current_graph_task_id() == -1:
        return False
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return _reentrant_node() is not None or (hooks is not None and _RECOMPUTES in hooks[0].__qualname__)


def _reentrant_node() -> Any:
    """Return the autograd node that recomputes its part under `use_reentrant=True`, or None."""
    node = torch._C._current_autograd_node()
    return node if node is not None and node.name() == _REENTRANT else None


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


def _leads_to(name: str, output: Tensor) -> bool:
    """Return whether the graph of a tensor has an autograd node of this name."""
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == name:
            return True
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
    return False


def _batch(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return the tensor whose first axis holds the rows that a stack was called with; a decoder's first, its memory."""
    inputs = [kwargs.get(name) for name in ("encoder_hidden_states", "input_ids", "inputs_embeds")]
    return next(value for value in (*inputs, *args, *kwargs.values()) if isinstance(value, Tensor))


def _check_row_count(
    tasks: int, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, may_repeat: bool, checked: bool
) -> None:
    """Raise InputError unless there is one task per row.

    A decoder may have a multiple of the rows if each is repeated: beams begin as copies of their row.

    Args:
        tasks: number of tasks.
        args: the stack's arguments.
        kwargs: its keyword arguments.
        may_repeat: whether the stack is a decoder.
        checked: whether the stack continues from a cache that was made with a checked batch: beams differ then.
    """
    given = _batch(args, kwargs)
    rows = len(given)
    if rows == tasks or (may_repeat and checked and rows % tasks == 0):
        return
    message = f"the batch has {rows} rows, but {tasks} tasks were given to `delta.rows`: give one task per row."
    if not may_repeat or rows % tasks:
        raise InputError(message)
    by_task = given.reshape(tasks, rows // tasks, -1)
    repeated = (by_task == by_task[:, :1]).all()
    if torch.compiler.is_compiling():
        torch._assert_async(repeated, message)
    elif not given.is_meta and not repeated:
        raise InputError(f"{message} (Only copies of a row, as beams are, share its task.)")
