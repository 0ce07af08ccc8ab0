"""Adapters without a non-linearity that come as near as they can to adapters with one: what LoRA weights can say."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError, Meter
from hyperadapters.delta import Delta, SiteAdapters
from hyperadapters.layers import SINGLE_ADAPTER
from hyperadapters.methods import Adapter, SiteMethod, attach
from hyperadapters.training.answering import evaluating
from hyperadapters.training.batching import epoch_batches
from hyperadapters.training.data import Data
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encodings import ENCODINGS

_SLOPE = 0.5
"""The derivative at 0 of every activation that an adapter has, but for relu, where it is the mean of both sides."""

_HELD_OUT = 5
"""Of so many rows one is scored, and the others are learned from."""


def hold_out_rows(data: Data, split: str) -> Data:
    """Return data whose rows of one split are shared out: four fifths to learn from, one fifth to score.

    Args:
        data: of one task.
        split: its name.

    Returns:
        The same with a train and a test split.

    Raises:
        InputError: there are fewer than five rows.
    """
    rows, references = data.splits[split], data.references[split]
    if len(rows) < _HELD_OUT:
        raise InputError(
            f"{len(rows)} rows are too few to learn from four fifths and score the rest: give {_HELD_OUT}."
        )
    scored = range(_HELD_OUT - 1, len(rows), _HELD_OUT)
    learned = [i for i in range(len(rows)) if i not in scored]
    parts = {"train": learned, "test": scored}
    return replace(
        data,
        splits={name: [rows[i] for i in numbers] for name, numbers in parts.items()},
        references={name: [references[i] for i in numbers] for name, numbers in parts.items()},
    )


def distil(
    delta: Delta,
    data: Data,
    *,
    rank: int | None = None,
    steps: int = 300,
    batch_size: int = 16,
    lr: float | None = None,
    seed: int = 42,
    quiet: bool = True,
) -> Delta:
    """Return adapters without a non-linearity, attached to the same backbone, that were taught another Delta's outputs.

    They stand at the same sites, and have norms and a head of their own where the other has. They start from the other
    adapters with the activation replaced by its slope at 0, and learn by AdamW with a rate that falls linearly: an
    encoder's logits by their squared distance, text by the Kullback-Leibler divergence of every target token. Answers
    of the rows are used for what the decoder reads alone. Dropout is off.

    Args:
        delta: adapters of one task, in use.
        data: of that task, with a train split; what `load_data` or `hold_out_rows` gave.
        rank: width of the new adapters; None: that of the others.
        steps: updates.
        batch_size: rows of one step.
        lr: the highest rate; None: `Method.suggested_rate`.
        seed: of initialisation and order.
        quiet: show no progress.

    Returns:
        The new Delta, in use; the other is at rest.

    Raises:
        InputError: the Delta has no adapters at sites, holds several tasks, trains the output layer, or its head reads
            something else than the model's own.
    """
    method = _linear_method(delta, rank)
    structure, backbone = delta.structure, delta.backbone
    sizes = delta.outputs if isinstance(delta.outputs, int) else None
    student = attach(backbone, method, f"{delta.name}-linear", outputs=sizes, layout=structure.layout, seed=seed)
    _start_from(student, delta)
    rate = method.suggested_rate(structure.kind, structure.d_model) if lr is None else lr
    trained = list(student.trained().values())
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    with Meter("fit LoRA", steps, quiet=quiet) as meter:
        for rows in islice(_batches(data, batch_size, seed), steps):
            delta.use()
            with evaluating(backbone):
                wanted = _target_logits(backbone, rows, data)
            student.use()
            with evaluating(backbone), torch.enable_grad():
                loss = _distance(_target_logits(backbone, rows, data), wanted, text=data.kind != "encoder")
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            meter.advance(1, f"loss {loss.item():.4g}")
    return student


def _linear_method(delta: Delta, rank: int | None) -> Adapter:
    """Return the method of adapters without a non-linearity at the sites of a Delta's.

    Raises:
        InputError: as `distil`.
    """
    method, pooling = delta.method, delta.structure.pooling
    if pooling != "model":
        raise InputError(
            f"the Delta {delta.name!r} cannot be made LoRA, whose head is the model's own: its head reads something "
            f"else (pooling={pooling}). Train with text.pooling=model."
        )
    if not isinstance(method, SiteMethod) or len(delta.tasks) > 1 or method.output_layer:
        raise InputError(
            f"the Delta {delta.name!r} ({type(method).__name__}) cannot be made LoRA: adapters of one task can, whose "
            "output layer does not train. Of several tasks, bake one first (`hyperadapters bake`)."
        )
    names = ("positions", "stacks", "first_layer", "norms")
    same = {name: getattr(method, name) for name in names}
    return Adapter(**same, bottleneck=rank or method.bottleneck, activation="identity")


@torch.no_grad()
def _start_from(student: Delta, delta: Delta) -> None:
    """Give adapters without a non-linearity the values of others, and the slope of their activation at 0."""
    theirs, own = delta.parts["adapters"], student.parts["adapters"]
    assert isinstance(theirs, SiteAdapters)
    assert isinstance(own, SiteAdapters)
    found = theirs.weights(SINGLE_ADAPTER)
    width = min(own.down_bias.shape[-1], theirs.down_bias.shape[-1])
    slope = 1.0 if theirs.activation == "identity" else _SLOPE
    held = {name: own.get_parameter(name) for name in ("matrices.down", "matrices.up", "down_bias", "up_bias")}
    held["matrices.up"].zero_()
    held["matrices.down"][..., :width].copy_(found.down[..., :width])  # type: ignore[call-overload, index]
    held["down_bias"][..., :width].copy_(found.down_bias[..., :width])  # type: ignore[index]
    if not theirs.has_norms:
        held["matrices.up"][..., :width, :].copy_(slope * found.up[..., :width, :])  # type: ignore[call-overload, index]
        held["up_bias"].copy_(found.up_bias)  # type: ignore[arg-type]
    values = delta.tensors()
    for name, tensor in student.tensors().items():
        if not name.startswith("adapters."):
            tensor.copy_(values[name])


def _batches(data: Data, batch_size: int, seed: int) -> Iterator[list[Encoded]]:
    """Yield batches of the training rows, epoch after epoch without end."""
    rows = data.splits["train"]
    lengths = [ENCODINGS[data.kind].length(row) for row in rows]
    for epoch in count():
        for numbers in epoch_batches(lengths, batch_size, seed, epoch):
            yield [rows[i] for i in numbers]


class _Recorder(nn.Module):
    """A model that keeps the logits that it has given."""

    backbone: nn.Module

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "backbone", backbone)  # not a submodule
        self.logits = torch.empty(0)

    def forward(self, **batch: Any) -> Any:
        found = self.backbone(**batch)
        self.logits = found.logits
        return found


def _target_logits(backbone: nn.Module, rows: Sequence[Encoded], data: Data) -> Float[Tensor, "places outputs"]:
    """Return the logits from which the answers of rows are read: an encoder's, or those of every target token."""
    recorder = _Recorder(backbone)
    ENCODINGS[data.kind].losses(recorder, backbone, rows, data.tokenizer.pad_token_id)
    logits = recorder.logits.float()
    if data.kind == "encoder":
        return torch.cat([found[_read_places(row)].flatten(0, -2) for found, row in zip(logits, rows, strict=True)])
    starts = [0] * len(rows)
    if data.kind == "decoder":  # the logits begin before the first target of the shortest source
        first = min(len(row.source) for row in rows)
        starts = [len(row.source) - first for row in rows]
    ends = [start + len(row.target) for start, row in zip(starts, rows, strict=True)]
    return torch.cat([found[start:end] for found, start, end in zip(logits, starts, ends, strict=True)])


def _read_places(row: Encoded) -> Any:
    """Return the places of an encoder's logits that a row's answer is read from."""
    if row.places:
        return [place for place in row.places if place >= 0]
    return slice(len(row.source)) if row.offsets else None


def _distance(
    found: Float[Tensor, "places outputs"], wanted: Float[Tensor, "places outputs"], *, text: bool
) -> Float[Tensor, ""]:
    """Return how far logits are from those that are wanted."""
    if not text:
        return F.mse_loss(found, wanted)
    return F.kl_div(found.log_softmax(-1), wanted.log_softmax(-1), reduction="batchmean", log_target=True)
