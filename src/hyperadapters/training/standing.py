"""How a run stands that was paused."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a paused run stands; `train_until` finds it."""

    step: int
    """Steps that were made."""
    total: int
    """Steps of the whole run."""
    score: float
    """The best validation score so far, by which weights are chosen; at the pause or before."""
    loss: float
    """The mean loss of the steps since the last evaluation, or before it where there were none since."""
