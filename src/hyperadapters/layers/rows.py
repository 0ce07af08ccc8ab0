"""Which adapter each row of a batch uses: selecting on the adapter axis, and gathering by row."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperadapters.errors import InputError

Present = Int[Tensor, " present"] | None
"""Which entries of the adapter axis a batch uses, each once; None: the only one there is."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The adapters that a batch uses, in the order of their first rows, and which of them each of its rows does.

    So where every row has one of its own, they stand in the order of the rows, and nothing need be gathered.
    """

    present: Present = None
    index: Int[Tensor, " batch"] | None = None
    """For every row a place in `present`; None: all rows use the first, and nothing is gathered."""


ONLY = Rows()
"""One adapter for all rows: nothing is selected and nothing gathered."""


def selected(tensor: Float[Tensor, "adapters ..."], present: Present) -> Float[Tensor, "_ ..."]:
    """The entries of the adapter axis that a batch uses."""
    return tensor if present is None else tensor.index_select(0, present)


def per_row(
    tensor: Float[Tensor, "present ..."], index: Int[Tensor, " rows"], batch: int
) -> Float[Tensor, "batch ..."]:
    """Each row's own entry. Where beams or label strings repeat every row in place, the index is repeated with them.

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


def not_by_row(given: str) -> InputError:
    """The error where a module does not see one input for every row, so no row can have its own weights there."""
    return InputError(
        f"the rows of one batch cannot use different tasks here: a module that the method changes was given {given}, "
        "as for positions that all rows share. Give each batch rows of one task, or choose a method that leaves the "
        "module as it is (norms=False for one that trains norms)."
    )


def numbered(tasks: list[int], device: torch.device) -> Rows:
    """`Rows` from a number on the adapter axis for every row of a batch."""
    present = list(dict.fromkeys(tasks))
    places = {number: place for place, number in enumerate(present)}
    index = torch.tensor([places[number] for number in tasks], device=device) if len(present) > 1 else None
    return Rows(torch.tensor(present, device=device), index)
