"""Skipping layers whose outputs are known: layers that nothing trained lies below, on texts that were passed before.

Inside `SkippedLayers`, a pass whose rows are all known computes no frozen layer: each returns its kept output, or its
input where its output was not kept and only the next frozen layer would read it. Hooks on the layers run as ever. The
rows are told by their tokens, at the entry of a stack, so that it does not matter who calls the model. A pass with
anything else in its arguments that could change a frozen layer (positions, embeddings, a cache) is computed whole.
"""

import hashlib
import inspect
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperadapters._utils import PerThread
from hyperadapters.backbones.caches import cache_in
from hyperadapters.backbones.kinds import Stack
from hyperadapters.backbones.offloading import device_of

RowStates = Float[Tensor, "points seq d_model"]
"""The outputs of some layers for one row, without padding."""

_KNOWN = {
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "encoder_hidden_states",
    "encoder_attention_mask",
    "use_cache",
    "return_dict",
}
"""Arguments of a stack that a row's key tells, or that do not change a layer's output."""


_MORE = ("output_hidden_states", "output_attentions")
"""Settings of a model by which it returns what layers find, which skipped ones do not."""


class FrozenLayers(NamedTuple):
    """The lowest layers of a stack, which nothing trained lies below or in."""

    paths: tuple[str, ...]
    """Of the frozen layers, in order."""
    points: tuple[int, ...]
    """The numbers of those whose outputs are kept: the last one, and what is read beside them."""
    in_tuple: int
    """How many things a layer returns in a tuple; 0: it returns its states alone."""
    runs_first: bool
    """Whether the first layer is computed all the same: later ones read from it something else than states."""
    dtype: torch.dtype
    """Of the layers' outputs."""
    feed: str = ""
    """The path of the module that makes the first layer's input and is skipped too; empty: none is."""


class _ThreadState(PerThread):
    """The pass that a thread computes."""

    def __init__(self) -> None:
        self.first: tuple[str, ...] | None = None
        """The keys of the rows of the first stack, in the running call of the model."""
        self.states: dict[Stack, dict[int, Tensor]] = {}
        """By stack that skips its frozen layers, the output of those that are kept, by their number."""
        self.extras: tuple[Any, ...] = ()
        """What the first layer returned beside its states."""
        self.last: tuple[Any, dict[int, Tensor]] = (None, {})
        """Which rows a pass without gradients looked up last, and what was found: other adapters may ask for them."""


class _WatchedStacks(ABC):
    """A context in which the rows of every pass are told by their tokens.

    Args:
        backbone: a model of the transformers library.
        entries: the path of the module that each stack's pass begins with, the first stack first.
        pad: the token that fills up a decoder's rows, which have no mask.
    """

    def __init__(self, backbone: Any, entries: Mapping[Stack, str], pad: int) -> None:
        self._backbone, self._entries, self._pad = backbone, entries, pad
        self._thread = _ThreadState()
        self._undo: list[Callable[[], None]] = []

    @abstractmethod
    def begin(self, stack: Stack, rows: "_PassRows | None") -> None:
        """A stack begins a pass over these rows; None: they cannot be told."""

    @abstractmethod
    def install(self) -> Iterator[Callable[[], None]]:
        """Change the layers; yield what undoes it."""

    def __enter__(self) -> Self:
        hook = self._backbone.register_forward_pre_hook
        if len(self._entries) > 1:
            self._undo.append(hook(self._begin_model, prepend=True).remove)
        for stack, entry in self._entries.items():
            module = self._backbone.get_submodule(entry)
            begin = partial(self._begin, stack, tuple(inspect.signature(module.forward).parameters))
            self._undo.append(module.register_forward_pre_hook(begin, with_kwargs=True, prepend=True).remove)
            self._undo.append(module.register_forward_hook(partial(self._end, stack), always_call=True).remove)
        self._undo.extend(self.install())
        return self

    def __exit__(self, *raised: object) -> None:
        while self._undo:
            self._undo.pop()()

    def _begin_model(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._thread.first = None

    def _begin(
        self, stack: Stack, names: Sequence[str], module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        for name in _MORE:
            given.setdefault(name, getattr(self._backbone.config, name, None))
        if stack == next(iter(self._entries)):
            rows = keys_of(given)
            self._thread.first = None if rows is None else rows.keys
        else:
            below = self._thread.first
            rows = None if below is None else keys_of(given, first=below, pad=self._pad)
        self.begin(stack, rows)

    def _end(self, stack: Stack, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._thread.states.pop(stack, None)


class SkippedLayers(_WatchedStacks):
    """A context in which a backbone's frozen layers are not computed for rows that are known.

    Args:
        backbone: a model of the transformers library.
        entries: the path of the module that each stack's pass begins with, the first stack first.
        pad: the token that fills up a decoder's rows, which have no mask.
        frozen: the frozen layers of each stack; a stack without any is left out.
        lookup: returns the kept states of rows by their keys, in their order, or None where some are not known.
    """

    def __init__(
        self,
        backbone: nn.Module,
        entries: Mapping[Stack, str],
        pad: int,
        frozen: Mapping[Stack, FrozenLayers],
        lookup: Callable[[Sequence[str]], list[RowStates] | None],
    ) -> None:
        super().__init__(backbone, entries, pad)
        self._frozen, self._lookup = frozen, lookup
        self.skipped = self.computed = 0
        """Passes through a stack with frozen layers that skipped them, and that did not."""

    def install(self) -> Iterator[Callable[[], None]]:
        """Let every frozen layer return what is known."""
        for stack, layers in self._frozen.items():
            for number, path in enumerate(layers.paths):
                yield _replace_forward(self._backbone.get_submodule(path), self._forward, stack, number)
            if layers.feed:
                yield _replace_forward(self._backbone.get_submodule(layers.feed), self._feed, stack)

    def _feed(self, stack: Stack, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what the first layer is given: where that layer is skipped, NaN, which nobody must read."""
        states = self._thread.states.get(stack)
        if states is None:
            return original(*args, **kwargs)
        like = next(iter(states.values()))
        return like.new_full((1, 1, 1), math.nan).expand(like.shape)

    def _forward(self, stack: Stack, number: int, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        thread, layers = self._thread, self._frozen[stack]
        states = thread.states.get(stack)
        if states is None:
            return original(*args, **kwargs)
        if number == 0 and layers.runs_first:
            _, *extras = original(*args, **kwargs)
            thread.extras = tuple(extras)
        given = args[0] if args else kwargs["hidden_states"]
        found = states.get(number, given)
        return (found, *thread.extras) if layers.in_tuple else found

    def remember(self, stack: Stack, rows: "_PassRows", states: dict[int, Tensor]) -> None:
        """Let passes of this thread over the same batch, which follow without another one in between, use these states.

        Args:
            stack: whose layers returned them.
            rows: the batch.
            states: by number of the layer, with padding.
        """
        self._thread.last = (stack, rows.keys, rows.width), states

    def begin(self, stack: Stack, rows: "_PassRows | None") -> None:
        """Look the rows of a pass up."""
        thread, layers = self._thread, self._frozen.get(stack)
        thread.states.pop(stack, None)
        if layers is None:
            return
        thread.extras = (None,) * (layers.in_tuple - 1)
        asked = rows and (stack, rows.keys, rows.width)
        if asked is not None and asked == thread.last[0]:
            self.skipped += 1
            thread.states[stack] = thread.last[1]
            return
        found = None if rows is None else self._lookup(rows.keys)
        self.skipped, self.computed = self.skipped + (found is not None), self.computed + (found is None)
        if found is None or rows is None:
            return
        points, _, width = found[0].shape
        padded = found[0].new_zeros(points, len(found), rows.width, width)
        for row, states in enumerate(found):
            padded[:, row, : states.shape[1]] = states
        padded = padded.to(device_of(self._backbone), layers.dtype)
        thread.states[stack] = dict(zip(layers.points, padded, strict=True))
        if len(self._frozen) == 1 and not torch.is_grad_enabled():
            thread.last = asked, thread.states[stack]


def _replace_forward(module: nn.Module, replacement: Callable[..., Any], *own: Any) -> Callable[[], None]:
    """Let a module compute `replacement(*own, its forward, ...)`; return what undoes it."""
    before = module.__dict__.get("forward")
    module.forward = partial(replacement, *own, module.forward)

    def undo() -> None:
        del module.__dict__["forward"]
        if before is not None:
            module.forward = before

    return undo


class LayerOutput(NamedTuple):
    """What a layer returned in a pass."""

    states: Tensor | None
    """The hidden states; None if what it returned does not begin with them."""
    in_tuple: int
    """How many things it returned in a tuple; 0: no tuple."""
    has_extras: bool
    """Whether there are tensors among the others."""
    needs_gradients: bool
    """Whether a gradient goes back through any of them."""
    calls: int
    """How often the layer was called in the pass."""


class CapturedLayers(_WatchedStacks):
    """A context that keeps what layers return, and the rows of the pass, for one pass at a time.

    Args:
        backbone: a model of the transformers library.
        entries: the path of the module that each stack's pass begins with, the first stack first.
        pad: the token that fills up a decoder's rows, which have no mask.
        layers: paths of the layers of each stack, by their number.
        last: the stack and the layer after which the pass is broken off (`captured_pass`); None: it ends as ever.
    """

    def __init__(
        self,
        backbone: nn.Module,
        entries: Mapping[Stack, str],
        pad: int,
        layers: Mapping[Stack, Mapping[int, str]],
        last: tuple[Stack, int] | None = None,
    ) -> None:
        super().__init__(backbone, entries, pad)
        self._layers, self._last = layers, last
        self.rows: dict[Stack, _PassRows | None] = {}
        """Of the pass, by stack."""
        self.outputs: dict[Stack, dict[int, LayerOutput]] = {stack: {} for stack in layers}
        """What each layer returned, by stack and number."""

    def install(self) -> Iterator[Callable[[], None]]:
        """Note what each layer returns."""
        for stack, layers in self._layers.items():
            for number, path in layers.items():
                layer = self._backbone.get_submodule(path)
                note = partial(self._note, stack, number)
                yield layer.register_forward_hook(note, prepend=True).remove  # before what is added beside it

    def begin(self, stack: Stack, rows: "_PassRows | None") -> None:
        """Forget the pass before."""
        self.rows[stack] = rows
        if stack in self.outputs:
            self.outputs[stack] = {}

    def _note(self, stack: Stack, number: int, layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        given = output if isinstance(output, tuple) else (output,)
        tensors = [value for value in given if isinstance(value, Tensor)]
        states = given[0] if given and isinstance(given[0], Tensor) and given[0].dim() == 3 else None
        before = self.outputs[stack].get(number)
        self.outputs[stack][number] = LayerOutput(
            states,
            len(output) if isinstance(output, tuple) else 0,
            any(value is not states for value in tensors),
            any(value.requires_grad for value in tensors),
            1 + (before.calls if before else 0),
        )
        if (stack, number) == self._last:
            raise _BrokenOffError


class _BrokenOffError(Exception):
    """A pass has come to the last layer of which something was wanted."""


def captured_pass(captured: CapturedLayers, compute: Callable[[], object]) -> None:
    """Compute a pass, as far as its last layer that is captured.

    Args:
        captured: is entered, and left again.
        compute: calls the model.
    """
    with captured, suppress(_BrokenOffError):
        compute()


def feed_of(backbone: nn.Module, layer: str, compute: Callable[[], object]) -> str:
    """Return the path of the module whose output is the input of a stack's first layer; empty: it is no module's alone.

    Of several, the one that is called first: all of an encoder's embeddings, say, and not their dropout.

    Args:
        backbone: a model of the transformers library, in evaluation mode.
        layer: the path of the first layer.
        compute: calls the model.
    """
    places = [path for path, _ in backbone.named_modules(remove_duplicate=False)]
    modules = {path: backbone.get_submodule(path) for path in places if path and not f"{layer}.".startswith(f"{path}.")}
    often = Counter(map(id, (backbone.get_submodule(path) for path in places)))
    began: dict[str, int] = {}
    made: dict[str, list[Any]] = {}
    given: list[Any] = []

    def begin(path: str, *_: Any) -> None:
        began.setdefault(path, len(began))

    def end(path: str, module: nn.Module, args: Any, output: Any) -> None:
        made.setdefault(path, []).append(output)

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given.append(args[0] if args else kwargs.get("hidden_states"))
        raise _BrokenOffError

    handles = [backbone.get_submodule(layer).register_forward_pre_hook(stop, with_kwargs=True)]
    for path, module in modules.items():
        if often[id(module)] == 1:
            handles.append(module.register_forward_pre_hook(partial(begin, path)))
            handles.append(module.register_forward_hook(partial(end, path)))
    try:
        with suppress(_BrokenOffError):
            compute()
    finally:
        for handle in handles:
            handle.remove()
    alike = [path for path, outputs in made.items() if len(outputs) == 1 and given and outputs[0] is given[0]]
    return min(alike, key=began.__getitem__, default="")


class _PassRows(NamedTuple):
    """The rows of a pass through a stack."""

    keys: tuple[str, ...]
    """Of each row: 32 hexadecimal digits that tell its tokens, and in a later stack those of the first too."""
    lengths: tuple[int, ...]
    """Of each row, in tokens without padding."""
    width: int
    """Tokens of each row with padding."""


def keys_of(given: Mapping[str, Any], *, first: Sequence[str] | None = None, pad: int = -1) -> _PassRows | None:
    """Return the rows of a pass through a stack; None if other arguments may change what its layers compute.

    Args:
        given: the stack's arguments by name.
        first: of a decoder above an encoder, the keys of the encoder's rows; None: there is no stack below.
        pad: the token that fills up a decoder's rows, which have no mask.
    """
    tokens = given.get("input_ids")
    if not isinstance(tokens, Tensor) or tokens.dim() != 2 or _has_others(given) or torch.compiler.is_compiling():
        return None
    lengths = _lengths(tokens, given.get("attention_mask"), None if first is None else pad)
    if lengths is None or (first is not None and len(first) != len(tokens)):
        return None
    segments = given.get("token_type_ids")
    rows = tokens.tolist()
    kinds = segments.tolist() if isinstance(segments, Tensor) and bool(segments.any()) else [()] * len(rows)
    below = first or ("",) * len(rows)
    keys = tuple(
        hashlib.blake2b(repr((under, row[:length], kind[:length])).encode(), digest_size=16).hexdigest()
        for under, row, kind, length in zip(below, rows, kinds, lengths, strict=True)
    )
    return _PassRows(keys, tuple(lengths), tokens.shape[1])


def _has_others(given: Mapping[str, Any]) -> bool:
    """Return whether a stack was called with something that a row's key does not tell, or is to return more."""
    if cache_in(given) is not None:
        return True
    if given.get("use_cache") and not torch.is_grad_enabled():  # what it keeps for later would be missing
        return True
    others = {name: value for name, value in given.items() if name not in _KNOWN and value is not None}
    return any(value is not False if isinstance(value, bool) else True for value in others.values())


def _lengths(tokens: Int[Tensor, "batch seq"], mask: Any, pad: int | None) -> list[int] | None:
    """Return how many tokens each row has; None if they do not come before all padding.

    Args:
        tokens: of the rows.
        mask: 1 for a token, 0 for padding, of the same shape; None: there is none.
        pad: without a mask, the token that fills up at the end; None: nothing does.
    """
    batch, width = tokens.shape
    if mask is None:
        if pad is None:
            return [width] * batch
        mask = (tokens != pad).flip(1).cumsum(1).flip(1) > 0
        mask[:, 0] = True
    if not isinstance(mask, Tensor) or mask.shape != tokens.shape:
        return None
    lengths = mask.long().sum(1)
    before = torch.arange(width, device=tokens.device) < lengths.unsqueeze(1)
    if not torch.equal(mask.bool(), before) or not bool((lengths > 0).all()):
        return None
    found: list[int] = lengths.tolist()
    return found
