"""What every method costs to train, measured alike: Compacter's Table 3 (arXiv:2106.04647v2), done with care.

The paper divides the peak memory of the largest batch that fits by its rows. That mixes what is there anyhow (weights,
optimizer) with what an example adds. Here batches of several sizes, all rows of one length, give both: the fixed part
and the slope of a straight line through the peaks.
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

TARGET_TOKENS = 2
"""A label's digit and the end of the sequence."""

STEPS = 3
"""Timed steps in each round, after one that is not counted."""


@dataclass(frozen=True)
class Point:
    """One batch size."""

    rows: int
    peak: int
    """Bytes at the peak of a step; on a CPU beyond what the process held before it."""
    saved: int
    """Bytes that the forward pass keeps for the backward pass: exact, on any machine."""
    seconds: float
    """A step: the median over all rounds."""


@dataclass(frozen=True)
class MethodCost:
    """What one method costs at each batch size, and what follows from it."""

    method: str
    trained: int
    length: int
    points: tuple[Point, ...]

    @property
    def line(self) -> tuple[float, float]:
        """Fixed bytes, and bytes for each example: least squares through the peaks."""
        slope, fixed = np.polyfit([p.rows for p in self.points], [p.peak for p in self.points], 1)
        return float(fixed), float(slope)

    @property
    def saved_per_row(self) -> float:
        """Bytes kept for the backward pass for each example: the slope of the same line through those."""
        return float(np.polyfit([p.rows for p in self.points], [p.saved for p in self.points], 1)[0])

    @property
    def seconds(self) -> float:
        """A step of the largest batch."""
        return self.points[-1].seconds

    @property
    def tokens_a_second(self) -> float:
        """Source tokens, at the largest batch."""
        return self.points[-1].rows * self.length / self.seconds

    def largest_batch(self, memory: int) -> int:
        """Rows that fit in so many bytes, by the line; 0 where none do."""
        fixed, slope = self.line
        return max(0, int((memory - fixed) // slope)) if slope > 0 else 0


def random_backbone(name: str, device: torch.device) -> PreTrainedModel:
    """A backbone of this name's shape with random weights, frozen: what it costs does not depend on them.

    Raises:
        InputError: no such configuration, or it is no model of text.
    """
    config = shape_config(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone: PreTrainedModel = loader_of(name, config).from_config(config)
    return prepare_backbone(backbone).to(device)


def split_by_fit(backbone: str, methods: Mapping[str, Method]) -> tuple[dict[str, Method], dict[str, str]]:
    """The methods that fit a backbone, and why each other does not: from its configuration alone.

    Raises:
        InputError: no such configuration, or it is no model of text.
    """
    outline, fitting, others = meta_backbone(backbone), {}, {}
    for name, method in methods.items():
        try:
            with attached_for(outline, method):
                fitting[name] = method
        except InputError as error:
            others[name] = str(error)
    return fitting, others


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
        backbone: frozen, on its device.
        methods: by the name to show.
        batches: at least two sizes, for the line.
        length: tokens of every source.
        precision: `bf16` computes the backbone under autocast.
        rounds: how often each method has its turn.
        quiet: show no progress.

    Raises:
        InputError: no method, fewer than two batch sizes, a method that does not fit the backbone, or a source beyond
            its positions.
    """
    sizes = sorted(set(batches))
    if not methods:
        raise InputError("name a method at least, such as full or compacter++.")
    if len(sizes) < 2 or sizes[0] < 1 or length < 2:
        raise InputError(f"batch sizes {list(batches)} at length {length}: give two sizes at least, and 2 tokens.")
    taken = length + max(method.extra_tokens for method in methods.values())
    taken += TARGET_TOKENS if kind_of(backbone.config) == "decoder" else 0
    positions = positions_of(backbone)
    if positions is not None and taken > positions:
        raise InputError(
            f"sources of {length} tokens, with answers and prompts {taken}: the backbone has positions for {positions}."
        )
    found: dict[str, dict[int, list[Point]]] = {name: {size: [] for size in sizes} for name in methods}
    trained = {}
    with Meter("cost", rounds * len(methods) * len(sizes), quiet=quiet) as meter:
        for _ in range(rounds):
            for name, method in methods.items():
                with attached_for(backbone, method) as delta:
                    trained[name] = count_parameters(delta).trained
                    for size in sizes:
                        found[name][size].append(point(delta, size, length, precision))
                        meter.advance(size * (STEPS + 1), f"{name}, {size} rows")
    return [
        MethodCost(name, trained[name], length, tuple(median_point(points) for points in by_size.values()))
        for name, by_size in found.items()
    ]


@contextmanager
def attached_for(backbone: PreTrainedModel, method: Method) -> Iterator[Delta]:
    """A Delta for a while, in training mode."""
    outputs = 2 if kind_of(backbone.config) == "encoder" else None
    delta = attach(backbone, method, outputs=outputs)
    backbone.train()
    try:
        yield delta
    finally:
        backbone.eval()
        delta.detach()


def random_rows(backbone: nn.Module, rows: int, length: int) -> list[Encoded]:
    """Rows of one length with random tokens."""
    config = backbone.config
    generator = torch.Generator().manual_seed(0)
    size = config.get_text_config().vocab_size  # type: ignore[union-attr, operator]
    sources = torch.randint(3, size, (rows, length), generator=generator).tolist()
    targets = [0] if kind_of(config) == "encoder" else [3] * TARGET_TOKENS
    return [Encoded(source, targets) for source in sources]


def point(delta: Delta, rows: int, length: int, precision: Precision) -> Point:
    """One batch size, measured once."""
    device = next(delta.backbone.parameters()).device
    pad = delta.backbone.config.pad_token_id or 0  # type: ignore[union-attr]
    batch = random_rows(delta.backbone, rows, length)
    loss, step = training_step(delta, batch, int(pad), precision)  # type: ignore[arg-type]
    memory = PeakMemory(device)
    seconds = median_seconds(step, STEPS, device)
    peak = memory.read()
    with saved_tensors(delta.backbone) as saved:
        loss()
    return Point(rows, peak, sum(saved.values()), seconds)


def median_point(points: Sequence[Point]) -> Point:
    """The medians of some rounds."""
    return Point(
        points[0].rows,
        round(statistics.median(p.peak for p in points)),
        round(statistics.median(p.saved for p in points)),
        statistics.median(p.seconds for p in points),
    )


PAPER_TIME = {
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
"""Table 3: time of an epoch, % more than full fine-tuning."""

PAPER_MEMORY = {
    "houlsby": -26.17,
    "compacter": -26.24,
    "compacter++": -29.55,
    "bitfit": -39.10,
    "prompt-r": 32.31,
    "intrinsic-said": 69.89,
}
"""From Table 3's memory column: % more than full fine-tuning, of full fine-tuning's memory.

The percentages that the paper prints beside it are of the method's own memory."""


@dataclass(frozen=True)
class RelativeCost:
    """A method against full fine-tuning, in percent of it, and the paper's figure for the same."""

    memory: float | None
    """Of memory for each example, in percent of full fine-tuning's; None where the batches are too small to see it."""
    memory_of_own: float | None
    """The same difference in percent of the method's own memory, as the paper prints it."""
    time: float | None
    paper_memory: float | None
    paper_memory_of_own: float | None
    paper_time: float | None


def relative_to_full(cost: MethodCost, full: MethodCost | None) -> RelativeCost:
    """How a method differs from full fine-tuning, here and in the paper."""
    paper = PAPER_MEMORY.get(cost.method)
    of_own = None if paper is None else 100 * (paper / 100) / (1 + paper / 100)
    if full is None:
        return RelativeCost(None, None, None, paper, of_own, PAPER_TIME.get(cost.method))
    ours, theirs = cost.line[1], full.line[1]
    seen = ours > 0 and theirs > 0
    return RelativeCost(
        100 * (ours / theirs - 1) if seen else None,
        100 * (1 - theirs / ours) if seen else None,
        100 * (cost.seconds / full.seconds - 1),
        paper,
        of_own,
        PAPER_TIME.get(cost.method),
    )
