"""Which adapter each row of a batch uses: selecting on the adapter axis, and gathering by row."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Present = Int[Tensor, " present"] | None
"""Which entries of the adapter axis a batch uses, each once; None: the only one there is."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The adapters that a batch uses, and which of them each of its rows does."""

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
    """Each row's own entry. Where beams or label strings repeat every row in place, the index is repeated with them."""
    repeats = batch // index.shape[0]
    return tensor.index_select(0, index if repeats == 1 else index.repeat_interleave(repeats))


def numbered(tasks: list[int], device: torch.device) -> Rows:
    """`Rows` from a number on the adapter axis for every row of a batch."""
    present = sorted(set(tasks))
    places = {number: place for place, number in enumerate(present)}
    index = torch.tensor([places[number] for number in tasks], device=device) if len(present) > 1 else None
    return Rows(torch.tensor(present, device=device), index)
