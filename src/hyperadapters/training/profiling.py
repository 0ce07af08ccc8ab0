"""What a training step and a generation cost: bytes, time, memory."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperadapters._utils import PeakMemory, saved_tensors
from hyperadapters.backbones import Precision, device_of, in_mode
from hyperadapters.delta import Delta
from hyperadapters.training.batching import batches_by_length
from hyperadapters.training.data import Data, Mixture, tasks_of, training_rows
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.task_adapters import _outputs_by_row, using_tasks

_GENERATED_TOKENS = 8
"""Tokens that `measure` generates for every row, whatever the model would answer."""


@dataclass(frozen=True)
class Cost:
    """What a training step and a generation cost on one batch, which holds the longest rows there are."""

    rows: int
    """Rows of the batch."""
    source_length: int
    """Tokens of every row's source, with padding."""
    saved_activations: int
    """Bytes that the forward pass keeps for the backward pass, parameters left out."""
    peak_memory: int
    """Bytes of a training step; on a CPU, those beyond what the process used before it."""
    step_seconds: float
    """Forward, backward and update: the median of the steps after the first."""
    generate_seconds: float
    """Eight tokens greedily for every row, or the classes of an encoder: the median of all but the first."""


_REPEATS = 3
"""Most steps and generations that `measure` times, after one of each that is not counted."""

_LONG_ENOUGH = 0.5
"""Seconds after which `measure` times no further step or generation: what takes long is told well enough by one."""


def measure(delta: Delta, data: Data | Mixture, *, batch_size: int, precision: Precision = "fp32") -> Cost:
    """Measure what a Delta costs on the longest training rows; its weights and the random state stay as they are.

    Args:
        delta: in use on its backbone.
        data: what `load_data` gave, or a `Mixture` of several.
        batch_size: rows of the batch, if there are as many.
        precision: `bf16` computes the backbone under autocast.

    Returns:
        Seconds, and memory in bytes.

    Raises:
        InputError: the Delta is at rest.
    """
    delta.check_in_use()
    rows, first = training_rows(data), tasks_of(data)[0]
    encoding = ENCODINGS[first.kind]
    longest = [rows[i] for i in batches_by_length([encoding.length(row) for row in rows], batch_size)[0]]
    device = device_of(delta.backbone)
    loss, step = training_step(delta, longest, first.tokenizer.pad_token_id, precision)

    def generation() -> None:
        with torch.no_grad(), using_tasks(delta, [row.task for row in longest]):
            encoding.compute_answers(delta.backbone, longest, first.tokenizer, _GENERATED_TOKENS)

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        with in_mode(delta.backbone, training=True):
            memory = PeakMemory(device)
            step_seconds = median_seconds(step, _REPEATS, device, enough=_LONG_ENOUGH)
            peak = memory.read()
            with saved_tensors(delta.backbone) as saved:
                loss()
        with in_mode(delta.backbone, training=False):
            generate_seconds = median_seconds(generation, _REPEATS, device, enough=_LONG_ENOUGH)
    length = max(len(row.source) for row in longest)
    return Cost(len(longest), length, sum(saved.values()), peak, step_seconds, generate_seconds)


def training_step(
    delta: Delta, rows: Sequence[Encoded], pad: int, precision: Precision
) -> tuple[Callable[[], Tensor], Callable[[], None]]:
    """Return two functions: one computes the loss of a batch, one makes a whole training step on it at rate zero.

    The step does all the work and moves nothing.

    Args:
        delta: in use on its backbone.
        rows: the batch.
        pad: the token that rows are padded with.
        precision: `bf16` computes the backbone under autocast.
    """
    device = device_of(delta.backbone)
    names, targets = [row.task for row in rows], sum(len(row.target) for row in rows)
    outputs = _outputs_by_row(delta, names)
    optimizer = torch.optim.AdamW(delta.trained().values(), lr=0.0, weight_decay=0.0)

    def loss() -> Tensor:
        with using_tasks(delta, names), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            losses = ENCODINGS[delta.structure.kind].losses(delta.backbone, delta.backbone, rows, pad, outputs=outputs)
            return losses.sum() / targets

    def step() -> None:
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return loss, step


def median_seconds(
    action: Callable[[], None], repeats: int, device: torch.device, *, enough: float = math.inf
) -> float:
    """Return the median time in seconds of `repeats` calls of an action, after one that is not counted.

    Args:
        action: what is timed.
        repeats: how many calls, at least 1.
        device: where the action computes.
        enough: no further call is made once those that count have taken this many seconds.
    """
    seconds: list[float] = []
    while len(seconds) <= repeats and sum(seconds[1:]) < enough:
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
