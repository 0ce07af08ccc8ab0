"""Skipping layers whose outputs are known: layers that nothing trained lies below, on texts that were passed before.

Inside `SkippedLayers`, a pass whose rows are all known computes no frozen layer: each returns its kept output, or its
input where its output was not kept and only the next frozen layer would read it. Hooks on the layers run as ever. A
pass whose rows cannot be told (`watched_passes`) is computed whole.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters.backbones.kinds import Stack
from hyperadapters.backbones.offloading import device_of
from hyperadapters.backbones.watched_passes import _PassRows, _WatchedStacks

RowStates = Float[Tensor, "points seq d_model"]
"""The outputs of some layers for one row, without padding."""


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
