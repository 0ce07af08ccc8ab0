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
