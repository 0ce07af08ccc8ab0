"""Which adapter each row of a batch uses: selecting entries of the adapter axis, and gathering one entry per row."""

import math
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperadapters._utils import InputError

Present = Int[Tensor, " present"] | None
"""Numbers of the adapters that a batch uses, each listed once. None: there is only one adapter."""

_SHARED = 8
"""From this many consecutive rows per adapter on, forming its full matrices is cheaper than applying its factors."""


@dataclass(frozen=True, eq=False)
class AdapterIndex:
    """The adapters that a batch uses, and which of them each row uses.

    The adapters are listed in the order of the first row that uses them. If every row uses a different adapter, they
    are therefore in the order of the rows already, and no gathering is needed.
    """

    present: Present = None
    index: Int[Tensor, " runs"] | None = None
    """For each run of consecutive rows, a position in `present`. None: all rows use the first, nothing is gathered."""
    run_length: int = 1
    """Rows per run: a matrix is gathered once for a run, and one product serves all its rows."""
    count: int | None = None
    """Number of rows. None: any number of rows, all of which use the same adapter."""

    @property
    def is_per_row(self) -> bool:
        """Whether so few rows share an adapter that forming its full matrices costs more than it saves."""
        return self.index is not None and self.run_length < _SHARED

    def numbers(self) -> list[int]:
        """Return the number of each row's adapter; of an index for any number of rows, of one row."""
        present = [0] if self.present is None else self.present.tolist()
        if self.index is None:
            return present * (self.count or 1)
        return [present[place] for place in self.index.tolist() for _ in range(self.run_length)]


SINGLE_ADAPTER = AdapterIndex()
"""The index for one adapter that all rows share: nothing is selected and nothing is gathered."""


def selected(tensor: Float[Tensor, "adapters ..."], present: Present) -> Float[Tensor, "_ ..."]:
    """Return the entries of the adapter axis that a batch uses.

    Args:
        tensor: a tensor with the adapter axis first.
        present: numbers of the adapters, or None for all.
    """
    return tensor if present is None else tensor.index_select(0, present)


def per_row(
    tensor: Float[Tensor, "present ..."], index: Int[Tensor, " rows"], batch: int
) -> Float[Tensor, "batch ..."]:
    """Gather each row's own entry.

    Args:
        tensor: one entry per adapter that the batch uses, (present, …).
        index: for each run of rows, a position on the first axis of `tensor`.
        batch: number of rows. It may be a multiple of the index's length: runs of rows share an entry, and beams or
            candidate labels repeat rows.

    Raises:
        InputError: `batch` is not a multiple of the index's length.
    """
    check_by_row(batch, index)
    repeats = batch // index.shape[0]
    return _gathered(tensor, index if repeats == 1 else index.repeat_interleave(repeats))


def _gathered(tensor: Float[Tensor, "present ..."], index: Int[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
    """Gather each row's own entry; if there are as many entries as rows, they are in the rows' order already."""
    return tensor if len(tensor) == len(index) else tensor.index_select(0, index)


def check_by_row(batch: int, index: Int[Tensor, " rows"]) -> None:
    """Raise InputError unless a leading axis of length `batch` holds every row (or its tokens) equally often.

    Args:
        batch: length of the axis.
        index: has one entry per row, or per run of rows.
    """
    if batch % index.shape[0]:
        raise not_by_row(f"{batch} rows where the batch has {index.shape[0]}")


SEQUENCE_FIRST = ("fsmt", "xlnet")
"""The `model_type` of families whose layers have tokens on the first axis and rows on the second."""


def not_by_row(given: str) -> InputError:
    """Return the error for a module whose input is not one per row, so that rows cannot have their own weights there.

    Args:
        given: what the module was given instead, in words.
    """
    return InputError(
        f"the rows of one batch cannot use different tasks here: a module that the method changes was given {given}, "
        "and so not one input per row. Use rows of one task in each batch, or a method that does not change this "
        "module (norms=False for a method that trains norms)."
    )


def index_of(tasks: list[int], device: torch.device) -> AdapterIndex:
    """Return the index for a batch.

    Args:
        tasks: the number of each row's adapter, or a single number for all rows.
        device: where the index's tensors are placed.
    """
    present, count = list(dict.fromkeys(tasks)), len(tasks) if len(tasks) > 1 else None
    if len(present) == 1:
        return AdapterIndex(torch.tensor(present, device=device), count=count)
    places = {number: place for place, number in enumerate(present)}
    run_length = math.gcd(*(len(list(same)) for _, same in groupby(tasks)))
    index = torch.tensor([places[number] for number in tasks[::run_length]], device=device)
    return AdapterIndex(torch.tensor(present, device=device), index, run_length, count)
