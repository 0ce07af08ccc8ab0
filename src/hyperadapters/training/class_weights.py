"""Weights of classes in the loss, for training rows of which some classes are rare."""

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hyperadapters._utils import InputError, few_names
from hyperadapters.tasks import Labels
from hyperadapters.training.data import Data, Mixture, tasks_of
from hyperadapters.training.encoded import Encoded


def _balanced(rows: Sequence[Encoded]) -> list[Encoded]:
    """Return training rows with weights that make all classes of a task count alike.

    The weight of a row is n / (k · n_c) for n rows of its task, k classes among them and n_c rows of its class, as
    scikit-learn's `class_weight="balanced"`: the weights of all rows have a mean of 1.

    Args:
        rows: each with its task's name, and one class as its target.
    """
    rows_of = Counter((row.task, tuple(row.target)) for row in rows)
    classes = Counter(task for task, _ in rows_of)
    totals = Counter(row.task for row in rows)
    return [
        row._replace(weight=totals[row.task] / (classes[row.task] * rows_of[row.task, tuple(row.target)]))
        for row in rows
    ]


def weight_losses(losses: Float[Tensor, " rows"], rows: Sequence[Encoded]) -> Float[Tensor, " rows"]:
    """Return each row's loss times the row's weight.

    The mean of a batch divides by the number of targets, not by the sum of the weights as PyTorch's cross entropy does:
    so the expected gradient is that of all rows, whatever the size of a batch, and a batch of one row is weighted too.
    """
    if all(row.weight == 1.0 for row in rows):
        return losses
    return losses * torch.tensor([row.weight for row in rows], device=losses.device, dtype=losses.dtype)


def _check_class_weights(data: Data | Mixture) -> None:
    """Raise InputError if the answers of a task are not one class a row, so that no weights of classes exist."""
    others = [task.form.name for task in tasks_of(data) if not isinstance(task.form.target, Labels)]
    if others:
        raise InputError(
            f"training.class_weights=balanced weights the classes of a task, but the answers of {few_names(others)} "
            "are not one class a row: leave it out (--class-weights none)."
        )
