"""Training one task of a Delta that holds several, with everything else frozen."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hyperadapters.delta.part import Part


class TaskEntry(nn.Module):
    """What one task has for itself, as parameters of their own.

    Every per-task tensor of the parts has an axis of adapters. Here is a copy of one entry of each, of shape (1, …). It
    is spliced into its tensor whenever weights are made, so gradients, decay and optimizer states exist for this task
    alone, and the other entries cannot move.

    Args:
        parts: the Delta's parts, by name.
        number: the task's place on the adapter axis.
    """

    def __init__(self, parts: Mapping[str, Part], number: int) -> None:
        super().__init__()
        self.number = number
        self.names = [(name, key) for name, part in parts.items() for key in part.per_adapter()]
        entries = [parts[name].held()[key][number : number + 1] for name, key in self.names]
        self.entries = nn.ParameterList([nn.Parameter(entry.detach().clone()) for entry in entries])

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the entries by the names that their tensors have on disk."""
        return {f"{name}.{key}": entry for (name, key), entry in zip(self.names, self.entries, strict=True)}

    @contextmanager
    def spliced_into(self, name: str, part: Part) -> Iterator[None]:
        """Let a part see its tensors with the entry in its place.

        Python finds an instance attribute before a registered parameter of the same name, so the part's own code need
        not know of it.
        """
        shadowed: list[tuple[nn.Module, str]] = []
        place = torch.tensor([self.number], device=self.entries[0].device)
        try:
            for (owner_name, key), entry in zip(self.names, self.entries, strict=True):
                if owner_name == name:
                    path, _, attribute = key.rpartition(".")
                    owner, whole = part.get_submodule(path), part.held()[key].detach()
                    object.__setattr__(owner, attribute, whole.index_copy(0, place, entry))
                    shadowed.append((owner, attribute))
            yield
        finally:
            for owner, attribute in shadowed:
                owner.__dict__.pop(attribute, None)

    @torch.no_grad()
    def write_back(self, parts: Mapping[str, Part]) -> None:
        """Write the entries into the tensors that they were taken from."""
        for (name, key), entry in zip(self.names, self.entries, strict=True):
            whole: Tensor = parts[name].held()[key]
            if not torch.equal(whole[self.number], entry[0]):
                whole[self.number].copy_(entry[0])
