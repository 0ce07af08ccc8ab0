"""When training goes through torch.compile, and for which lengths of rows."""

import math
from collections import Counter
from collections.abc import Iterable

from torch import nn

from hyperadapters.backbones import CompiledModel, bucket, is_quantized, own_parameters
from hyperadapters.training.config import Training

_WORTH_COMPILING = 2000
"""Passes of one bucket that make up for compiling its graph: half a minute, at about 15 ms saved in each."""


def _compiled_model(
    model: nn.Module, backbone: nn.Module, training: Training, pad: int, buckets: set[int] | None
) -> nn.Module:
    """Return the model through torch.compile where `training.compile` asks for it, or where it is expected to pay.

    Args:
        model: what computes the training passes: the backbone, perhaps wrapped for several processes.
        backbone: the backbone with its Delta in use.
        training: settings; of `compile="auto"` only the buckets given are compiled.
        pad: the token that rows are padded with.
        buckets: lengths in tokens, as `backbones.bucket` rounds them; None: all.
    """
    if training.compile is False or (training.compile == "auto" and not buckets):
        return model
    rows = math.ceil(training.batch_size / training.accumulation)
    return CompiledModel(backbone, rows, pad, buckets=buckets, graphs=training.compile == "graphs")


def _may_compile(backbone: nn.Module, training: Training) -> bool:
    """Return whether `compile="auto"` may compile: the whole backbone on one GPU, unquantized, nothing recomputed."""
    weights = own_parameters(backbone).values()
    on_one_gpu = {weight.device.type for weight in weights} == {"cuda"} and len({w.device for w in weights}) == 1
    return on_one_gpu and not training.gradient_checkpointing and not any(map(is_quantized, weights))


def _buckets_worth_compiling(longest: Iterable[int], epochs: float, accumulation: int) -> set[int]:
    """Return the buckets of length that a run meets often enough to be worth compiling for.

    Args:
        longest: tokens of the longest row of each batch of one epoch.
        epochs: passes over the training rows.
        accumulation: passes through the backbone for each batch.
    """
    least = _WORTH_COMPILING / epochs / accumulation
    return {size for size, batches in Counter(map(bucket, longest)).items() if batches >= least}
