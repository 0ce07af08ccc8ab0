"""Which adapter each row of a batch uses: selecting on the adapter axis, and gathering by row."""

import math
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperadapters._utils import InputError

Present = Int[Tensor, " present"] | None
"""Which entries of the adapter axis a batch uses, each once; None: the only one there is."""

SHARED = 8
"""Rows for which an adapter's matrices are worth making."""


@dataclass(frozen=True, eq=False)
class AdapterIndex:
    """The adapters that a batch uses, in the order of their first rows, and which of them each of its rows does.

    So where every row has one of its own, they stand in the order of the rows, and nothing need be gathered.
    """

    present: Present = None
    index: Int[Tensor, " runs"] | None = None
    """For every run of consecutive rows a place in `present`; None: all rows use the first, nothing is gathered."""
    run_length: int = 1
    """Rows in each run: a matrix is gathered for a run, and one product serves its rows."""
    count: int | None = None
    """How many rows there are; None: any number, which all use the same."""

    @property
    def is_per_row(self) -> bool:
        """Whether few rows share an adapter, so that making its matrices costs more than they save."""
        return self.index is not None and self.run_length < SHARED


SINGLE_ADAPTER = AdapterIndex()
"""One adapter for all rows: nothing is selected and nothing gathered."""


def selected(tensor: Float[Tensor, "adapters ..."], present: Present) -> Float[Tensor, "_ ..."]:
    """The entries of the adapter axis that a batch uses."""
    return tensor if present is None else tensor.index_select(0, present)


def per_row(
    tensor: Float[Tensor, "present ..."], index: Int[Tensor, " rows"], batch: int
) -> Float[Tensor, "batch ..."]:
    """Each row's own entry. The index is repeated over the rows of a run, and with rows that beams or labels repeat.

    Raises:
        InputError: the batch is not one of these rows.
    """
    check_by_row(batch, index)
    repeats = batch // index.shape[0]
    return gathered(tensor, index if repeats == 1 else index.repeat_interleave(repeats))


def gathered(tensor: Float[Tensor, "present ..."], index: Int[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
    """Each row's own entry; where there are as many as rows, they are in order already."""
    return tensor if len(tensor) == len(index) else tensor.index_select(0, index)


def check_by_row(batch: int, index: Int[Tensor, " rows"]) -> None:
    """Raise InputError unless a leading axis holds every row, or every row's tokens, as often as any other."""
    if batch % index.shape[0]:
        raise not_by_row(f"{batch} rows where the batch has {index.shape[0]}")


SEQUENCE_FIRST = ("fsmt", "xlnet")
"""Families, by their `model_type`, whose layers have the tokens on the first axis and the rows on the second."""


def not_by_row(given: str) -> InputError:
    """The error where a module does not see one input for every row, so no row can have its own weights there."""
    return InputError(
        f"the rows of one batch cannot use different tasks here: a module that the method changes was given {given}, "
        "as for positions that all rows share. Give each batch rows of one task, or choose a method that leaves the "
        "module as it is (norms=False for one that trains norms)."
    )


def index_of(tasks: list[int], device: torch.device) -> AdapterIndex:
    """Return the index for adapters given by number: one for each row of a batch, or one for all."""
    present, count = list(dict.fromkeys(tasks)), len(tasks) if len(tasks) > 1 else None
    if len(present) == 1:
        return AdapterIndex(torch.tensor(present, device=device), count=count)
    places = {number: place for place, number in enumerate(present)}
    run_length = math.gcd(*(len(list(same)) for _, same in groupby(tasks)))
    index = torch.tensor([places[number] for number in tasks[::run_length]], device=device)
    return AdapterIndex(torch.tensor(present, device=device), index, run_length, count)
