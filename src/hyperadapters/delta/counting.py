"""What a Delta trains, counted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperadapters.delta.part import PARAMETER_KINDS, Part

if TYPE_CHECKING:
    from hyperadapters.delta.delta import Delta


@dataclass(frozen=True)
class ParameterCount:
    """How many parameters a Delta trains, of how many in its backbone."""

    by_kind: dict[str, int]
    """Trained parameters by kind: adapter, norm, head, bias, shared and so on."""
    trained: int
    """Trained parameters, all kinds together; after `train_only`, those of that task."""
    total: int
    """Parameters of the backbone, tied ones once."""
    bytes: int
    """Size of the saved adapter's tensors, in bytes."""

    @property
    def percent(self) -> float:
        """Trained parameters in percent of the backbone's, as the papers' tables give it."""
        return 100 * self.trained / self.total


def count_delta(delta: "Delta") -> ParameterCount:
    """Count what a Delta trains, and the bytes of its saved tensors."""
    totals: dict[str, int] = dict.fromkeys(PARAMETER_KINDS, 0)
    for name, tensor in delta.trained().items():
        owner, _, key = name.partition(".")
        part = delta.parts[owner]
        assert isinstance(part, Part)
        totals[part.kind(key)] += tensor.numel()
    by_kind = {kind: total for kind, total in totals.items() if total}
    size = sum(tensor.numel() * tensor.element_size() for tensor in delta.tensors().values())
    return ParameterCount(by_kind, sum(by_kind.values()), delta.structure.parameters, size)
