"""The heads of a Delta whose adapter axis a pool manages: adapters of any number of outputs in slots of one width."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hyperadapters.delta.head import _Head

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta


def fit_slot(delta: "Delta", slot: int, tensors: Mapping[str, Tensor], outputs: int | None) -> Mapping[str, Tensor]:
    """Return the tensors of one adapter with its head padded to the slots' width, and note how wide it is.

    Args:
        delta: of the pool.
        slot: where the caller puts them.
        tensors: of the adapter's file, by name.
        outputs: the number of outputs of its head, at most that of the slots; None: it has none.
    """
    head = delta._head
    if head is None or outputs is None:
        return tensors
    head.set_size(slot, outputs)
    if outputs == head.outputs:
        return tensors
    own = {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}
    padded = {f"head.{name}": tensor for name, tensor in head.padded_to_widest(own, outputs).items()}
    return {**{name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}, **padded}


@torch.inference_mode(False)
@torch.no_grad()
def widen_slots(delta: "Delta", outputs: int, kept: Iterable[int]) -> None:
    """Give the slots of a pool's Delta heads of more outputs; memory is taken as they are written.

    Args:
        delta: of the pool, with heads.
        outputs: the number of outputs of the widest.
        kept: the slots whose adapters stay.

    Raises:
        InputError: another thread computes with the Delta.
    """
    old = delta._head
    assert old is not None
    like = old.entries(0)
    with torch.device("meta"):
        new = _Head(delta.backbone, delta.structure, [outputs] * delta.slots, delta.slots)
    new = new.to(like.dtype).to_empty(device=like.device).requires_grad_(False)
    for slot in kept:
        size = old.sizes[slot]
        for name, tensor in new.padded_to_widest(old.baked(slot), size).items():
            new.get_parameter(name)[slot].copy_(tensor[0])
        new.set_size(slot, size)
    with delta.disabled():
        delta.parts["head"] = new.train(old.training)
