"""The schedule of a run: how many steps, the learning rate of each, and when to evaluate."""

import math
from dataclasses import dataclass

from hyperadapters.training.config import Training


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
    def of(training: Training, rows: int) -> "Schedule":
        """Return the schedule of a run on a number of training rows."""
        per_epoch = math.ceil(rows / training.batch_size)
        total = training.steps or max(training.epochs * per_epoch, training.min_steps)
        tenth = math.ceil(total / 10) if training.steps or training.min_steps > 1 else None
        return Schedule(total, per_epoch, training.warmup_steps, training.evaluate_steps or tenth)

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
