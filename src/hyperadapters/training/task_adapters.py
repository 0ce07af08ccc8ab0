"""Which task's adapter each row of a batch uses."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import nn

from hyperadapters.delta import Delta


def using_tasks(delta: Delta, tasks: str | Sequence[str]) -> AbstractContextManager[nn.Module]:
    """Return the context in which each row of a batch uses its task's adapter; it yields the backbone.

    Where the Delta holds no tasks by name, all rows use its one adapter, whatever `tasks` says.

    Args:
        delta: in use on its backbone.
        tasks: the task of each row, or one task for all rows.

    Raises:
        InputError: on entering, if the Delta holds tasks and not these.
    """
    return delta.rows(tasks) if delta.tasks else nullcontext(delta.backbone)


def _outputs_by_row(delta: Delta, tasks: Sequence[str]) -> list[int] | None:
    """Return how many outputs the head of each row's task has; None where all of the Delta's heads have as many.

    Args:
        delta: with a head of its own or without.
        tasks: the task of each row.

    Raises:
        InputError: the Delta does not hold these tasks.
    """
    if not isinstance(delta.outputs, dict):
        return None
    sizes = {task: delta.outputs_of(task) for task in dict.fromkeys(tasks)}
    return [size for task in tasks if (size := sizes[task]) is not None]
