"""Training one task of a Delta that holds several, with everything else frozen (`Delta.train_only`)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hyperadapters.delta.part import Part


class _TaskEntry(nn.Module):
    """One task's entries of the tensors with an adapter axis, as separate parameters.

    Every per-task tensor of the parts has an adapter axis. This module holds a copy of one entry of each, of shape
    (1, …), which replaces the entry in its tensor whenever weights are computed. Gradients, weight decay and optimizer
    states therefore exist for this task only, and the other entries cannot change.

    Args:
        parts: the Delta's parts, by name.
        number: the task's position on the adapter axis.
    """

    def __init__(self, parts: Mapping[str, Part], number: int) -> None:
        super().__init__()
        self.number = number
        self.names = [(name, key) for name, part in parts.items() for key in part.per_adapter()]
        entries = [parts[name].held()[key][number : number + 1] for name, key in self.names]
        self.entries = nn.ParameterList([nn.Parameter(entry.detach().clone()) for entry in entries])

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the entries by the names that their tensors have in saved files."""
        return {f"{name}.{key}": entry for (name, key), entry in zip(self.names, self.entries, strict=True)}

    @contextmanager
    def spliced_into(self, name: str, part: Part) -> Iterator[None]:
        """Replace one task's entry in a part's tensors by the entry held here, inside this context.

        Python finds an instance attribute before a registered parameter of the same name, so the part's own code reads
        the combined tensor without knowing of it.
        """
        shadowed: list[tuple[nn.Module, str]] = []
        position = torch.tensor([self.number], device=self.entries[0].device)
        try:
            for (owner_name, key), entry in zip(self.names, self.entries, strict=True):
                if owner_name == name:
                    path, _, attribute = key.rpartition(".")
                    owner, whole = part.get_submodule(path), part.held()[key].detach()
                    object.__setattr__(owner, attribute, whole.index_copy(0, position, entry))
                    shadowed.append((owner, attribute))
            yield
        finally:
            for owner, attribute in shadowed:
                owner.__dict__.pop(attribute, None)

    @torch.no_grad()
    def write_back(self, parts: Mapping[str, Part]) -> None:
        """Copy the entries back into the tensors that they were taken from."""
        for (name, key), entry in zip(self.names, self.entries, strict=True):
            whole: Tensor = parts[name].held()[key]
            if not torch.equal(whole[self.number], entry[0]):
                whole[self.number].copy_(entry[0])
