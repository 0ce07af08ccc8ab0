"""Memory and time of training for every method: Compacter's Table 3 (arXiv:2106.04647v2), with fixed memory apart.

The paper divides the peak memory of the largest batch that fits by its rows. That mixes memory that is used anyway
(weights, optimizer) with what an example adds. Here batches of several sizes, all rows of one length, give both: the
intercept and the slope of a straight line through the peaks.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from hyperadapters._utils import InputError, Meter, PeakMemory, saved_tensors
from hyperadapters.backbones import (
    Precision,
    in_mode,
    kind_of,
    loader_of,
    meta_backbone,
    positions_of,
    prepare_backbone,
    shape_config,
)
from hyperadapters.delta import Delta, Method
from hyperadapters.methods import attach, count_parameters
from hyperadapters.training import Encoded, median_seconds, training_step

_TARGET_TOKENS = 2
"""Tokens of a target: a label's digit and the end of the sequence."""

_STEPS = 3
"""Timed steps in each round, after a first one that is not counted."""


@dataclass(frozen=True)
class _Point:
    """What a step of one batch size costs."""

    rows: int
    """The batch size."""
    peak: int
    """Peak memory of a step in bytes; on a CPU, beyond what the process held before it."""
    saved: int
    """Bytes that the forward pass keeps for the backward pass: exact, on any machine."""
    seconds: float
    """Time of a step: the median over all rounds."""


@dataclass(frozen=True)
class MethodCost:
    """What one method costs at each batch size, and what follows from it."""

    method: str
    trained: int
    """Trained parameters."""
    length: int
    """Tokens of every source."""
    points: tuple[_Point, ...]

    @property
    def line(self) -> tuple[float, float]:
        """Fixed bytes, and bytes for each example: the least-squares line through the peaks."""
        slope, fixed = np.polyfit([p.rows for p in self.points], [p.peak for p in self.points], 1)
        return float(fixed), float(slope)

    @property
    def saved_per_row(self) -> float:
        """Bytes kept for the backward pass for each example: the slope of the line through `saved`."""
        return float(np.polyfit([p.rows for p in self.points], [p.saved for p in self.points], 1)[0])

    @property
    def seconds(self) -> float:
        """Time of a step of the largest batch."""
        return self.points[-1].seconds

    @property
    def tokens_a_second(self) -> float:
        """Source tokens per second, at the largest batch."""
        return self.points[-1].rows * self.length / self.seconds

    def largest_batch(self, memory: int) -> int:
        """Return the rows that fit in `memory` bytes by the line; 0 where none fit or the slope is not seen."""
        fixed, slope = self.line
        return max(0, int((memory - fixed) // slope)) if slope > 0 else 0


def random_backbone(name: str, device: torch.device) -> PreTrainedModel:
    """Return a frozen backbone with random weights, of a named one's configuration; costs depend on shapes alone.

    Args:
        name: as `load_backbone` takes it.
        device: where to put it.

    Raises:
        InputError: there is no such configuration, or it is not one of a text model.
    """
    config = shape_config(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone: PreTrainedModel = loader_of(name, config).from_config(config)
    return prepare_backbone(backbone).to(device)


def split_by_fit(backbone: str, methods: Mapping[str, Method]) -> tuple[dict[str, Method], dict[str, str]]:
    """Divide methods into those that fit a backbone and those that do not, from its configuration alone.

    Args:
        backbone: as `load_backbone` takes it.
        methods: by name.

    Returns:
        The methods that fit, and for each other one the reason why it does not.

    Raises:
        InputError: there is no such configuration, or it is not one of a text model.
    """
    outline, fit, others = meta_backbone(backbone), {}, {}
    for name, method in methods.items():
        try:
            with _attached_for(outline, method):
                fit[name] = method
        except InputError as error:
            others[name] = str(error)
    return fit, others


def measure_costs(
    backbone: PreTrainedModel,
    methods: Mapping[str, Method],
    batches: Sequence[int],
    *,
    length: int = 128,
    precision: Precision = "fp32",
    rounds: int = 3,
    quiet: bool = False,
) -> list[MethodCost]:
    """Measure every method at every batch size; the methods take turns in each round, so that ratios are fair.

    Args:
        backbone: frozen, on the device to measure.
        methods: by the name to show.
        batches: batch sizes in rows, at least two, since memory is a line through them.
        length: tokens of every source.
        precision: `bf16` computes the backbone under autocast.
        rounds: how often each method takes its turn.
        quiet: show no progress.

    Returns:
        The cost of each method, in bytes and seconds.

    Raises:
        InputError: there is no method or fewer than two batch sizes, a method does not fit the backbone, or sources are
            longer than its positions.
    """
    sizes = sorted(set(batches))
    if not methods:
        raise InputError("name a method at least, such as full or compacter++.")
    if len(sizes) < 2 or sizes[0] < 1 or length < 2:
        raise InputError(f"batch sizes {list(batches)} at length {length}: give two sizes at least, and 2 tokens.")
    taken = length + max(method.extra_tokens for method in methods.values())
    taken += _TARGET_TOKENS if kind_of(backbone.config) == "decoder" else 0
    positions = positions_of(backbone)
    if positions is not None and taken > positions:
        raise InputError(
            f"sources of {length} tokens, with answers and prompts {taken}: the backbone has positions for {positions}."
        )
    found: dict[str, dict[int, list[_Point]]] = {name: {size: [] for size in sizes} for name in methods}
    trained = {}
    with Meter("cost", rounds * len(methods) * len(sizes), quiet=quiet) as meter:
        for _ in range(rounds):
            for name, method in methods.items():
                with _attached_for(backbone, method) as delta:
                    trained[name] = count_parameters(delta).trained
                    for size in sizes:
                        found[name][size].append(_measure_point(delta, size, length, precision))
                        meter.advance(size * (_STEPS + 1), f"{name}, {size} rows")
    return [
        MethodCost(name, trained[name], length, tuple(median_point(points) for points in by_size.values()))
        for name, by_size in found.items()
    ]


@contextmanager
def _attached_for(backbone: PreTrainedModel, method: Method) -> Iterator[Delta]:
    """Attach a Delta inside the context, with the backbone in training mode."""
    outputs = 2 if kind_of(backbone.config) == "encoder" else None
    delta = attach(backbone, method, outputs=outputs)
    try:
        with in_mode(backbone, training=True):
            yield delta
    finally:
        delta.detach()


def _random_rows(backbone: nn.Module, rows: int, length: int) -> list[Encoded]:
    """Return rows of random tokens, all sources of one length."""
    config = backbone.config
    generator = torch.Generator().manual_seed(0)
    size = config.get_text_config().vocab_size  # type: ignore[union-attr, operator]
    sources = torch.randint(3, size, (rows, length), generator=generator).tolist()
    targets = [0] if kind_of(config) == "encoder" else [3] * _TARGET_TOKENS
    return [Encoded(source, targets) for source in sources]


def _measure_point(delta: Delta, rows: int, length: int, precision: Precision) -> _Point:
    """Measure one batch size once."""
    device = next(delta.backbone.parameters()).device
    pad = delta.backbone.config.pad_token_id or 0
    batch = _random_rows(delta.backbone, rows, length)
    loss, step = training_step(delta, batch, int(pad), precision)
    memory = PeakMemory(device)
    seconds = median_seconds(step, _STEPS, device)
    peak = memory.read()
    with saved_tensors(delta.backbone) as saved:
        loss()
    return _Point(rows, peak, sum(saved.values()), seconds)


def median_point(points: Sequence[_Point]) -> _Point:
    """Return the medians over several rounds."""
    return _Point(
        points[0].rows,
        round(statistics.median(p.peak for p in points)),
        round(statistics.median(p.saved for p in points)),
        statistics.median(p.seconds for p in points),
    )


_PAPER_TIME = {
    "houlsby": -24.5,
    "pfeiffer": -33.09,
    "adapterdrop": -33.35,
    "lowrank": -22.36,
    "prompt-r": 5.72,
    "intrinsic-said": 241.82,
    "bitfit": -35.06,
    "phm": -15.62,
    "compacter": -13.41,
    "compacter++": -26.51,
}
"""Compacter, Table 3: time of an epoch, in percent more than full fine-tuning."""

_PAPER_MEMORY = {
    "houlsby": -26.17,
    "compacter": -26.24,
    "compacter++": -29.55,
    "bitfit": -39.10,
    "prompt-r": 32.31,
    "intrinsic-said": 69.89,
}
"""From the memory column of Compacter, Table 3: the difference from full fine-tuning in percent of its memory.

The percentages that the paper prints beside that column are in percent of the method's own memory."""


@dataclass(frozen=True)
class _RelativeCost:
    """How a method's cost differs from that of full fine-tuning, in percent, here and in the paper."""

    memory: float | None
    """Difference of the memory for each example, in percent of full fine-tuning's; None where batches are too small to
    show it."""
    memory_of_own: float | None
    """The same difference in percent of the method's own memory, as the paper prints it."""
    time: float | None
    """Difference of the time of a step, in percent of full fine-tuning's."""
    paper_memory: float | None
    paper_memory_of_own: float | None
    paper_time: float | None


def relative_to_full(cost: MethodCost, full: MethodCost | None) -> _RelativeCost:
    """Return how a method's cost differs from that of full fine-tuning, here and in the paper.

    Args:
        cost: of the method.
        full: of full fine-tuning, measured on the same batches; None: only the paper's figures are returned.
    """
    paper = _PAPER_MEMORY.get(cost.method)
    of_own = None if paper is None else 100 * (paper / 100) / (1 + paper / 100)
    if full is None:
        return _RelativeCost(None, None, None, paper, of_own, _PAPER_TIME.get(cost.method))
    ours, theirs = cost.line[1], full.line[1]
    seen = ours > 0 and theirs > 0
    return _RelativeCost(
        100 * (ours / theirs - 1) if seen else None,
        100 * (1 - theirs / ours) if seen else None,
        100 * (cost.seconds / full.seconds - 1),
        paper,
        of_own,
        _PAPER_TIME.get(cost.method),
    )
