"""The rows of each pass through a stack, told by their tokens at its entry: it does not matter who calls the model.

A pass with anything else in its arguments that could change what a layer computes (positions, embeddings, a cache) has
rows that cannot be told.
"""

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Int
from torch import Tensor, nn

from hyperadapters._utils import PerThread
from hyperadapters.backbones.caches import cache_in
from hyperadapters.backbones.kinds import Stack

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
