"""Counting the parameters that a Delta trains."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperadapters.delta.part import _PARAMETER_KINDS, Part

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta


@dataclass(frozen=True)
class ParameterCount:
    """The number of parameters that a Delta trains, and that of its backbone."""

    by_kind: dict[str, int]
    """Number of trained parameters of each kind: adapter, norm, head, bias, shared and so on."""
    trained: int
    """Number of trained parameters; after `train_only`, those of that task."""
    total: int
    """Number of parameters of the backbone, without a task head's, tied ones once."""
    bytes: int
    """Size of the saved tensors, in bytes; heads are saved padded to the widest."""

    @property
    def percent(self) -> float:
        """Trained parameters in percent of the backbone's, as in the papers' tables."""
        return 100 * self.trained / self.total


def count_delta(delta: "Delta") -> ParameterCount:
    """Count the parameters that a Delta trains, padding of heads left out, and the bytes of its saved tensors.

    Args:
        delta: a Delta, in use or at rest.
    """
    adapter = None if delta.trained_task is None else delta.tasks.index(delta.trained_task)
    totals: dict[str, int] = dict.fromkeys(_PARAMETER_KINDS, 0)
    for name, tensor in delta.trained().items():
        owner, _, key = name.partition(".")
        part = delta.parts[owner]
        assert isinstance(part, Part)
        totals[part.kind(key)] += tensor.numel() - part.padding(key, adapter)
    by_kind = {kind: total for kind, total in totals.items() if total}
    size = sum(tensor.numel() * tensor.element_size() for tensor in delta.tensors().values())
    return ParameterCount(by_kind, sum(by_kind.values()), delta.structure.parameters, size)
