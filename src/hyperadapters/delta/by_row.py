"""Tensors of one adapter, or of several adapters among which each row of a batch uses its own."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperadapters.backbones import is_quantized
from hyperadapters.layers import AdapterIndex, per_row


def _common_dtype(weights: Sequence[Tensor | None]) -> torch.dtype | None:
    """Return the dtype in which modules with these weights compute.

    It is None if the weights differ in dtype or one is missing, offloaded or quantised, or under autocast.
    """
    dtypes = {None if weight is None else weight.dtype for weight in weights}
    elsewhere = any(
        weight is not None and (weight.is_meta or is_quantized(weight) or torch.is_autocast_enabled(weight.device.type))
        for weight in weights
    )
    return None if elsewhere or len(dtypes) != 1 else dtypes.pop()


def _cast(dtype: torch.dtype | None, tensor: Tensor) -> Tensor:
    """Convert a tensor to a dtype, if given, so that tensors computed from it need no conversion of their own."""
    return tensor if dtype is None else tensor.to(dtype)


def _of_sites(tensor: Float[Tensor, "adapters sites *rest"], rows: AdapterIndex) -> tuple[Tensor, ...]:
    """Return the tensor of every site: the only adapter's, or with the adapter axis if the rows use several."""
    return only(tensor, rows).unbind(0 if rows.index is None else 1)


def only(tensor: Float[Tensor, "present ..."], rows: AdapterIndex) -> Tensor:
    """Return the only adapter's tensor, without the adapter axis; unchanged if the rows use several adapters.

    Args:
        tensor: entries of the adapters that the batch uses.
        rows: the index that they were selected with.
    """
    return tensor[0] if rows.index is None else tensor


class ByRow(NamedTuple):
    """A tensor of several adapters, and for each row of a batch the number of the adapter that it uses."""

    tensor: Float[Tensor, "present ..."]
    rows: Int[Tensor, " rows"]


def by_rows(tensors: Iterable[Tensor], rows: AdapterIndex) -> list[Tensor | ByRow]:
    """Pair each tensor with the rows' choice of adapters; return them unchanged if there is only one adapter.

    Args:
        tensors: as returned by `only` or `of_sites`.
        rows: the index that they were selected with.
    """
    return [tensor if rows.index is None else ByRow(tensor, rows.index) for tensor in tensors]


def for_batch(value: Tensor | ByRow, output: Tensor) -> Tensor:
    """Return a vector, shared or each row's own, in the dtype of `output` and shaped to broadcast with it.

    Args:
        value: a vector, or one per adapter with the choice of each row.
        output: (rows, …, width): what the vector is combined with.
    """
    if not isinstance(value, ByRow):
        return value.type_as(output)
    own = per_row(value.tensor, value.rows, len(output)).type_as(output)
    return own.view(len(output), *(1 for _ in output.shape[2:]), -1)
