"""What a method costs: parameters, bytes, time, memory."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperadapters._utils import PeakMemory, saved_tensors
from hyperadapters.backbones import Precision, device_of, meta_backbone
from hyperadapters.delta import Delta, Method
from hyperadapters.methods import attach
from hyperadapters.training.batching import batches_by_length
from hyperadapters.training.data import Data, Mixture, tasks_of, training_rows, using_tasks_of
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encodings import ENCODINGS


@dataclass(frozen=True)
class Parameters:
    """What a method trains on a backbone."""

    by_kind: dict[str, int]
    trained: int
    total: int
    """Parameters of the backbone, tied ones once."""
    bytes: int
    """Size of the saved adapter."""

    @property
    def percent(self) -> float:
        """Trained parameters in percent of the backbone's, as the papers' tables give it."""
        return 100 * self.trained / self.total


def parameters(delta: Delta) -> Parameters:
    """What a Delta trains, by kind."""
    by_kind = delta.count()
    return Parameters(
        {str(kind): number for kind, number in by_kind.items()},
        sum(by_kind.values()),
        delta.structure.parameters,
        delta.bytes(),
    )


def parameters_of(backbone: str, method: Method, tasks: int = 1) -> Parameters:
    """What a method would train on a backbone, from its config alone: exact, and as fast for 11 B as for 60 M.

    With several `tasks`, what one Delta of them all would.

    Raises:
        InputError: no such backbone, or the method does not fit it.
    """
    names = [str(number) for number in range(tasks)] if tasks > 1 else []
    return parameters(attach(meta_backbone(backbone), method, tasks=names))


GENERATED_TOKENS = 8
"""Tokens that `measure` generates for every row, whatever the model would say."""


@dataclass(frozen=True)
class Cost:
    """What a training step and a generation cost: on one batch, of the longest rows there are."""

    rows: int
    source_length: int
    """Tokens of every row's source, with padding."""
    saved_activations: int
    """Bytes that the forward pass keeps for the backward pass, parameters left out."""
    peak_memory: int
    """Bytes of a training step; on a CPU beyond what the process held before it."""
    step_seconds: float
    """Forward, backward and update: the median of the steps after the first."""
    generate_seconds: float
    """Eight tokens greedily for every row, or the classes of an encoder: likewise."""


def measure(
    delta: Delta, data: Data | Mixture, *, batch_size: int, precision: Precision = "fp32", repeats: int = 3
) -> Cost:
    """What a Delta costs on the longest training rows; its weights and the random state stay as they are.

    Args:
        delta: in use on its backbone.
        data: what `load_data` gave, or a `Mixture` of several.
        batch_size: rows of the batch, fewer where there are fewer.
        precision: `bf16` computes the backbone under autocast.
        repeats: timed steps and generations, after one that is not counted.

    Raises:
        InputError: the Delta is at rest.
    """
    delta.check_in_use()
    rows, first = training_rows(data), tasks_of(data)[0]
    kind = ENCODINGS[first.kind]
    longest = [rows[i] for i in batches_by_length([kind.length(row) for row in rows], batch_size)[0]]
    device = device_of(delta.backbone)
    loss, step = training_step(delta, longest, first.tokenizer.pad_token_id, precision)
    was_training = delta.backbone.training

    def generation() -> None:
        with torch.no_grad(), using_tasks_of(delta, longest):
            kind.compute_answers(delta.backbone, longest, first.tokenizer, GENERATED_TOKENS)

    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            memory = PeakMemory(device)
            delta.backbone.train()
            step_seconds = median_seconds(step, repeats, device)
            peak = memory.read()
            with saved_tensors(delta.backbone) as saved:
                loss()
            delta.backbone.eval()
            generate_seconds = median_seconds(generation, repeats, device)
    finally:
        delta.backbone.train(was_training)
    length = max(len(row.source) for row in longest)
    return Cost(len(longest), length, sum(saved.values()), peak, step_seconds, generate_seconds)


def training_step(
    delta: Delta, rows: Sequence[Encoded], pad: int, precision: Precision
) -> tuple[Callable[[], Tensor], Callable[[], None]]:
    """The loss of a batch, and a whole training step on it at rate zero, which does all the work and moves nothing."""
    device = device_of(delta.backbone)
    targets = sum(len(row.target) for row in rows)
    optimizer = torch.optim.AdamW(delta.trained().values(), lr=0.0, weight_decay=0.0)

    def loss() -> Tensor:
        with using_tasks_of(delta, rows), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            return ENCODINGS[delta.structure.kind].losses(delta.backbone, delta.backbone, rows, pad).sum() / targets

    def step() -> None:
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return loss, step


def median_seconds(action: Callable[[], None], repeats: int, device: torch.device) -> float:
    """The median time of some repetitions, after one that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
