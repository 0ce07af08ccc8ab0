"""Where a run stands, so that it can go on to the bit."""

import math
from dataclasses import dataclass, field
from typing import Any

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class TrainingState:
    """Where a run stands; with the tensors of a checkpoint, all that resuming needs."""

    epoch: int = 0
    batch: int = 0
    """Batches of this epoch that are done."""
    step: int = 0
    loss_sum: float = 0.0
    """Over the steps since the last evaluation."""
    loss_steps: int = 0
    best: float = -math.inf
    best_step: int = 0
    without_gain: int = 0
    """Evaluations since the best."""
    tokens: int = 0
    padded_tokens: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry an evaluation: epoch, step, loss, metrics."""
