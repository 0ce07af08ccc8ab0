"""The schedule of a run: how many steps, the learning rate of each, and when to evaluate."""

import math
from dataclasses import dataclass

from hyperadapters.training.config import Training

_EVALUATIONS = 10
"""Evaluations of a run whose steps are counted."""

_TRAINING_COST = 3
"""How many times as long a row takes in training as in evaluation: it passes forward, and twice that backward."""


@dataclass(frozen=True)
class Schedule:
    """The steps of one run."""

    total: int
    """Steps of the whole run."""
    steps_per_epoch: int
    warmup: int
    """Steps of linear warm-up."""
    evaluate_every: int | None
    """Steps between evaluations; None: evaluate at the end of every epoch."""

    @staticmethod
    def of(training: Training, rows: int, validation_rows: int = 1) -> "Schedule":
        """Return the schedule of a run.

        Args:
            training: its settings.
            rows: to train on.
            validation_rows: to evaluate on. Where steps are counted there are ten evaluations, or as many as take no
                longer than the training, in which a row takes about three times as long; and one at least.
        """
        per_epoch = math.ceil(rows / training.batch_size)
        total = training.steps or max(training.epochs * per_epoch, training.min_steps)
        affordable = _TRAINING_COST * total * training.batch_size // max(1, validation_rows)
        part = math.ceil(total / min(_EVALUATIONS, max(1, affordable)))
        by_steps = training.steps or training.min_steps > 1
        return Schedule(
            total, per_epoch, training.warmup_steps, training.evaluate_steps or (part if by_steps else None)
        )

    @property
    def epochs(self) -> float:
        """Passes over the training rows, the last perhaps in part."""
        return self.total / self.steps_per_epoch

    @property
    def evaluations(self) -> int:
        """Evaluations during training, if it is not ended early."""
        return math.ceil(self.epochs if self.evaluate_every is None else self.total / self.evaluate_every)

    def rate_factor(self, step: int) -> float:
        """Return the share of the peak rate for a step, counted from 0: linear warm-up from 0, then linear decay to 0.

        It is that of transformers' linear schedule, with which the papers' code trains: with a warm-up, the first step
        changes nothing.
        """
        if step < self.warmup:
            return step / self.warmup
        return max(0.0, (self.total - step) / max(1, self.total - self.warmup))

    def evaluation_due(self, step: int, batch: int) -> bool:
        """Return whether to evaluate after `step` steps in all, `batch` of them in this epoch."""
        if self.evaluate_every is None:
            return batch == self.steps_per_epoch
        return step % self.evaluate_every == 0 or step == self.total
