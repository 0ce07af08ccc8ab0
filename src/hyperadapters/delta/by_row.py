"""Tensors of one adapter, or of several of which each row of a batch uses its own."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperadapters.backbones import is_quantized
from hyperadapters.layers import AdapterIndex, per_row


def common_dtype(weights: Sequence[Tensor | None]) -> torch.dtype | None:
    """The type in which modules with these weights compute; None if they differ, or something else decides it."""
    found = {None if weight is None else weight.dtype for weight in weights}
    elsewhere = any(
        weight is not None and (weight.is_meta or is_quantized(weight) or torch.is_autocast_enabled(weight.device.type))
        for weight in weights
    )
    return None if elsewhere or len(found) != 1 else found.pop()


def cast(dtype: torch.dtype | None, tensor: Tensor) -> Tensor:
    """In this type, so that what is made of the tensor needs no cast of its own."""
    return tensor if dtype is None else tensor.to(dtype)


def of_sites(tensor: Float[Tensor, "adapters sites *rest"], rows: AdapterIndex) -> tuple[Tensor, ...]:
    """The tensor of every site: the only adapter's, or, with an axis of adapters, all that the rows use."""
    return only(tensor, rows).unbind(0 if rows.index is None else 1)


def only(tensor: Float[Tensor, "present ..."], rows: AdapterIndex) -> Tensor:
    """The only adapter's tensor, without the axis of adapters; where rows differ, that of all of them."""
    return tensor[0] if rows.index is None else tensor


class ByRow(NamedTuple):
    """One tensor of each of several adapters, and which of them each row of a batch uses."""

    tensor: Float[Tensor, "present ..."]
    rows: Int[Tensor, " rows"]


def by_rows(tensors: Iterable[Tensor], rows: AdapterIndex) -> list[Tensor | ByRow]:
    """Tensors that `only` or `of_sites` made: as they are, or, where rows differ, with each row's choice."""
    return [tensor if rows.index is None else ByRow(tensor, rows.index) for tensor in tensors]


def for_batch(value: Tensor | ByRow, output: Tensor) -> Tensor:
    """A vector that all rows of `output` share, or each row's own, shaped to meet it."""
    if not isinstance(value, ByRow):
        return value.type_as(output)
    own = per_row(value.tensor, value.rows, len(output)).type_as(output)
    return own.view(len(output), *(1 for _ in output.shape[2:]), -1)
