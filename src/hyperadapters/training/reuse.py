"""Reusing what cannot change: the outputs of the layers that nothing trained lies below or in.

`ReusedStates` finds those layers by a pass over a few rows, computes their outputs once for every row, and lets later
passes over the rows skip them. It is exact but for dropout, which these layers then do not have: in a family, or with a
method, where it would not be, preparing raises an error.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from filelock import FileLock
from torch import Tensor

from hyperadapters._utils import InputError, Meter, make_folder
from hyperadapters.backbones import (
    DTYPES,
    CapturedLayers,
    FrozenLayers,
    LayerOutput,
    Precision,
    SkippedLayers,
    Stack,
    blocks_of,
    captured_pass,
    device_of,
    feed_of,
    in_mode,
    keys_of,
)
from hyperadapters.delta import Delta
from hyperadapters.training.answering import evaluating
from hyperadapters.training.batching import batches_by_length
from hyperadapters.training.config import Training
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.state_store import _StateStore
from hyperadapters.training.task_adapters import using_tasks

STATES = "states"
"""The folder in a run's folder in which its states are kept while it trains."""

_TOGETHER = 64
"""Rows whose states are computed in one pass. It is fixed, so that an interrupted run computes the same to the bit."""

_PROBED = 4
"""Rows of the passes that find which layers are frozen."""

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""By the type in which states are kept, how much a pass that skips layers may differ from one that computes them, in
units of the largest logit."""


def reusing_states(
    delta: Delta,
    training: Training,
    pad: int,
    rows: Sequence[Encoded],
    validation: Sequence[Encoded],
    root: Path | None,
    *,
    quiet: bool,
) -> AbstractContextManager[Any]:
    """Return the context of a training in which frozen layers are skipped, if `training.reuse` says so.

    The states of all rows are computed before, if they are not known.

    Args:
        delta: in use on its backbone.
        training: its settings.
        pad: the token that fills up.
        rows: that training will take.
        validation: those that will be answered.
        root: the folder below which states are kept; None: they stay in memory.
        quiet: show no progress.

    Raises:
        InputError: no layer is frozen, or skipping it would not be exact.
    """
    if training.reuse == "none":
        return nullcontext()
    states = ReusedStates(delta, pad, precision=training.precision, dtype=DTYPES[training.reuse], root=root)
    states.prepare(rows)
    states.compute(rows, quiet=quiet)
    kind = delta.structure.kind
    if validation and kind != "decoder":  # which answers with a cache
        first = next(iter(delta.structure.entries))
        states.compute(validation, stacks=[first], quiet=quiet)
    return states


class ReusedStates:
    """A context in which passes over rows whose states are known skip the layers below the lowest trained module.

    Args:
        delta: in use on its backbone.
        pad: the token that fills up.
        precision: `bf16` if passes are computed under autocast.
        dtype: in which states are kept.
        root: the folder below which they are written; None: they stay in memory.
        using: returns the context in which rows use their adapters; None: each that of its task.

    Raises:
        InputError: the layers of the backbone are not known.
    """

    def __init__(
        self,
        delta: Delta,
        pad: int,
        *,
        precision: Precision = "fp32",
        dtype: torch.dtype,
        root: Path | None,
        using: Callable[[Sequence[Encoded]], AbstractContextManager[Any]] | None = None,
    ) -> None:
        self._delta, self._pad, self._precision, self._dtype, self._root = delta, pad, precision, dtype, root
        self._using = using or (lambda rows: using_tasks(delta, [row.task for row in rows]))
        self._backbone, self._entries = delta.backbone, delta.structure.entries
        self._encoding = ENCODINGS[delta.structure.kind]
        self._blocks = blocks_of(delta.backbone, delta.structure)
        self.frozen: dict[Stack, FrozenLayers] = {}
        """The frozen layers of each stack that has some; after `prepare`."""
        self._store = _StateStore(None, {}, dtype)
        self._skipped = self._skipping()

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """The stacks with frozen layers, in order."""
        return tuple(self.frozen)

    def share(self, rows: list[Encoded]) -> None:
        """Compute the states of one batch for passes over the same batch that follow in this thread, and not keep them.

        Those of the first stack: answers have other targets than the rows.

        Args:
            rows: the batch.
        """
        first = self.stacks[0]
        with self._delta.disabled():
            captured = self._passed(rows, [first])
        found = captured.rows[first]
        if found is not None:
            outputs = captured.outputs[first]
            states = {point: _states_of(outputs[point]) for point in self.frozen[first].points}
            self._skipped.remember(first, found, states)

    @property
    def passes(self) -> tuple[int, int]:
        """How many passes through a stack with frozen layers skipped them, and how many computed them."""
        return self._skipped.skipped, self._skipped.computed

    def __enter__(self) -> Self:
        self._skipped.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._skipped.__exit__(*raised)

    def prepare(self, rows: Sequence[Encoded]) -> None:
        """Find the frozen layers, and read the states of their outputs that are known.

        Args:
            rows: some of those that will be passed.

        Raises:
            InputError: no layer is frozen; or skipping frozen layers would not be exact.
        """
        rows = self._longest_and_shortest(rows)
        with torch.enable_grad(), _all_trained(self._delta):
            active = self._captured(rows)
        with self._delta.disabled(), torch.no_grad():
            alone = self._captured(rows)
        read = {path for _, part in self._delta._named_parts() for path in part.reads()}
        for stack, paths in self._blocks.items():
            outputs = [active[stack].get(number) for number in range(len(paths))]
            found = _frozen(paths, outputs, [alone[stack].get(number) for number in range(len(paths))], read)
            if found is not None:
                self.frozen[stack] = found
        if not self.frozen:
            raise InputError(
                f"training.reuse: with {self._delta.method.label} something trains in or below the first layer of "
                "every stack, so that nothing can be kept. Let adapters begin higher (first_layer=..., "
                'norms="above"; stacks=["decoder"]), or use training.reuse=none.'
            )
        self._store = _StateStore(self._root, self._identity(), self._dtype)
        self._store.read()
        self._check_exact(rows)

    def _longest_and_shortest(self, rows: Sequence[Encoded]) -> list[Encoded]:
        """Return a few rows that are padded much where they pass together."""
        ordered = sorted(rows, key=self._encoding.length)
        return [*ordered[: _PROBED // 2], *ordered[max(_PROBED // 2, len(ordered) - _PROBED // 2) :]]

    def compute(self, rows: Sequence[Encoded], stacks: Sequence[Stack] = (), *, quiet: bool = True) -> None:
        """Compute the states of all rows that are not known, and keep them.

        Another process that computes into the same folder is waited for.

        Args:
            rows: of any number.
            stacks: for which stacks; empty: all.
            quiet: show no progress.
        """
        wanted = [stack for stack in self.frozen if not stacks or stack in stacks]
        if not wanted:
            return
        rows = [*{(*row.source, -1, *row.target, -1, *row.segments): row for row in rows}.values()]
        batches = batches_by_length([self._encoding.length(row) for row in rows], _TOGETHER)
        with self._alone(), self._delta.disabled(), Meter("states", len(batches), quiet=quiet) as meter:
            self._store.read()
            for numbers in batches:
                self._compute_batch([rows[number] for number in numbers], wanted)
                meter.advance(len(numbers), "")
            self._store.write()

    def _alone(self) -> AbstractContextManager[Any]:
        if self._store.folder is None:
            return nullcontext()
        make_folder(self._store.folder)
        return FileLock(self._store.folder / "lock")

    def _compute_batch(self, rows: list[Encoded], stacks: Sequence[Stack]) -> None:
        """Compute and keep the states of some rows, unless all are known."""
        if all(key in self._store for key in self._keys(rows, stacks)):
            return
        captured = self._passed(rows, stacks)
        for stack in stacks:
            found = captured.rows[stack]
            assert found is not None  # as for the rows of `prepare`
            states = torch.stack([_states_of(captured.outputs[stack][point]) for point in self.frozen[stack].points])
            for row, (key, length) in enumerate(zip(found.keys, found.lengths, strict=True)):
                self._store.put(key, states[:, row, :length])

    def _passed(self, rows: list[Encoded], stacks: Sequence[Stack]) -> CapturedLayers:
        """Return what the layers of some stacks return for rows in evaluation, where it is to be kept."""
        layers = {
            stack: {point: self.frozen[stack].paths[point] for point in self.frozen[stack].points} for stack in stacks
        }
        last = stacks[-1], self.frozen[stacks[-1]].points[-1]
        captured = CapturedLayers(self._backbone, self._entries, self._pad, layers, last)
        with evaluating(self._backbone):
            captured_pass(captured, lambda: self._call(rows))
        return captured

    def _keys(self, rows: Sequence[Encoded], stacks: Sequence[Stack]) -> list[str]:
        """Return the keys under which the states of rows are kept, for these stacks."""
        given = self._encoding.inputs(self._backbone, rows, self._pad)
        targets = {"input_ids": given.pop("decoder_input_ids", None)}
        first, *later = self._entries
        found = {first: keys_of(given)}
        below = found[first]
        if later and below is not None:
            found[later[0]] = keys_of(targets, first=below.keys, pad=self._pad)
        told = [found.get(stack) for stack in stacks]
        return [key for rows_of in told for key in (("",) if rows_of is None else rows_of.keys)]

    def _captured(self, rows: Sequence[Encoded]) -> dict[Stack, dict[int, LayerOutput]]:
        """Return what every layer returns in a pass over rows, in evaluation mode."""
        layers = {stack: dict(enumerate(paths)) for stack, paths in self._blocks.items()}
        captured = CapturedLayers(self._backbone, self._entries, self._pad, layers)
        with in_mode(self._backbone, training=False), self._rows_of(rows):
            captured_pass(captured, lambda: self._call(rows))
        if any(captured.rows.get(stack) is None for stack in self._entries):
            raise InputError(
                f"training.reuse: the rows of a {type(self._backbone).__name__} cannot be told by their tokens alone. "
                "Use training.reuse=none."
            )
        return captured.outputs

    def _rows_of(self, rows: Sequence[Encoded]) -> AbstractContextManager[Any]:
        return self._using(rows) if self._delta.in_use else nullcontext()

    def _call(self, rows: Sequence[Encoded]) -> Any:
        """Pass rows through the model as training does."""
        kind = device_of(self._backbone).type
        with torch.autocast(kind, torch.bfloat16, enabled=self._precision == "bf16"):
            return self._backbone(**self._encoding.inputs(self._backbone, rows, self._pad), return_dict=True)

    def _check_exact(self, rows: Sequence[Encoded]) -> None:
        """Skip what feeds the frozen layers too, if a pass without it finds the same.

        Raises:
            InputError: a pass that skips the frozen layers finds something else than one that computes them.
        """
        whole = self.frozen
        with in_mode(self._backbone, training=False), self._delta.disabled(), torch.no_grad():
            for stack, layers in whole.items():
                if not layers.runs_first:
                    feed = feed_of(self._backbone, layers.paths[0], lambda: self._call(rows))
                    self.frozen = {**self.frozen, stack: layers._replace(feed=feed)}
        difference = self._difference(rows)
        if self.frozen != whole and not difference <= _TOLERANCE[self._dtype]:
            self.frozen = whole
            difference = self._difference(rows)
        if not difference <= _TOLERANCE[self._dtype]:
            raise InputError(
                f"training.reuse: in a {type(self._backbone).__name__} a pass that skips the frozen layers differs by "
                f"{difference:.1g} from one that computes them. Use training.reuse=none, or another folder of states."
            )

    def _difference(self, rows: Sequence[Encoded]) -> float:
        """Return by how much a pass that skips what is frozen differs from a whole one; inf: none was skipped.

        Rows pass one by one: what a model finds for padding means nothing.
        """
        self._skipped = self._skipping()
        self.compute(rows)
        pairs = []
        for row in rows:
            with evaluating(self._backbone), self._rows_of([row]):
                wanted = self._call([row]).logits.float()
                with self:
                    pairs.append((self._call([row]).logits.float(), wanted))
        skipped, computed = self.passes
        self._skipped = self._skipping()
        if computed or not skipped:
            return math.inf
        return max(_difference(found, wanted) for found, wanted in pairs)

    def _skipping(self) -> SkippedLayers:
        return SkippedLayers(self._backbone, self._entries, self._pad, self.frozen, self._store.get)

    def _identity(self) -> dict[str, Any]:
        """Return what the states depend on besides the rows' tokens."""
        return {
            "backbone": asdict(self._delta.fingerprint()),
            "layers": {
                stack: [layers.paths[point] for point in layers.points] for stack, layers in self.frozen.items()
            },
            "precision": self._precision,
            "dtypes": sorted({str(layers.dtype) for layers in self.frozen.values()}),
        }


@contextmanager
def _all_trained(delta: Delta) -> Iterator[None]:
    """Let every tensor of a Delta take gradients inside this context, so that they show what depends on any of them."""
    tensors = [tensor for tensor in (*delta.parts.parameters(), *delta.parts.buffers()) if tensor.is_floating_point()]
    before = [tensor.requires_grad for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.requires_grad_(True)
        yield
    finally:
        for tensor, required in zip(tensors, before, strict=True):
            tensor.requires_grad_(required)


def _difference(found: Tensor, wanted: Tensor) -> float:
    """Return by how much logits differ, in units of the largest; those that a task does not have are −∞ in both."""
    given = wanted.isfinite()
    if not torch.equal(given, found.isfinite()):
        return math.inf
    largest = wanted[given].abs().max().clamp(min=1e-12)
    return float((found[given] - wanted[given]).abs().max() / largest)


def _states_of(output: LayerOutput) -> Tensor:
    assert output.states is not None  # of a frozen layer
    return output.states


def _frozen(
    paths: Sequence[str],
    active: Sequence[LayerOutput | None],
    alone: Sequence[LayerOutput | None],
    read: Collection[str],
) -> FrozenLayers | None:
    """Return the frozen layers of a stack; None if there are none.

    They are the lowest ones that are called once in a pass, whose outputs depend on no tensor of the Delta, and which
    return with it what they return without it.

    Args:
        paths: of the stack's layers.
        active: what each returned in a pass with the Delta in use.
        alone: the same of a pass without it.
        read: paths of layers whose outputs something beside them reads.
    """
    found: list[LayerOutput] = []
    for mine, theirs in zip(active, alone, strict=True):
        if mine is None or theirs is None or not _is_frozen(mine, theirs, first=(found or [mine])[0]):
            break
        found.append(mine)
    if not found:
        return None
    points = sorted({len(found) - 1, *(number for number in range(len(found)) if paths[number] in read)})
    extras = any(output.has_extras for output in found) and len(found) < len(paths)
    return FrozenLayers(
        tuple(paths[: len(found)]), tuple(points), found[0].in_tuple, extras, _states_of(found[0]).dtype
    )


def _is_frozen(mine: LayerOutput, theirs: LayerOutput, first: LayerOutput) -> bool:
    """Return whether a layer is like the first frozen one, is called once, and is not touched by a Delta."""
    if mine.needs_gradients or mine.calls != 1 or mine.states is None or theirs.states is None:
        return False
    like = (mine.in_tuple, mine.states.shape, mine.states.dtype)
    if like != (first.in_tuple, _states_of(first).shape, _states_of(first).dtype):
        return False
    limit = 1e-5 * theirs.states.abs().max()
    return mine.states.shape == theirs.states.shape and bool((mine.states - theirs.states).abs().max() <= limit)
