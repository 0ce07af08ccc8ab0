"""The tasks that a Delta holds, and the choice among them for each row of a batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from hyperadapters._utils import InputError, few_names, resolve_task
from hyperadapters.layers import SINGLE_ADAPTER, AdapterIndex, index_of


class _TaskRows:
    """The names on a Delta's adapter axis, and the rows' choice of adapters in the current pass.

    Args:
        owner: the Delta's name, for errors.
        tasks: names on the adapter axis, in order; empty if the Delta holds one task without a name.
        slots: length of the axis if a pool manages the Delta and knows the names, else 0.
    """

    def __init__(self, owner: str, tasks: tuple[str, ...], slots: int) -> None:
        self._owner, self.tasks, self.slots = owner, tasks, slots
        self._index: AdapterIndex | None = None

    @property
    def must_be_chosen(self) -> bool:
        """Whether the adapters that the rows use must be given before a pass."""
        return len(self.tasks) > 1 or self.slots > 0

    @contextmanager
    def using(self, index: AdapterIndex) -> Iterator[None]:
        """Use this index in all passes inside this context."""
        before, self._index = self._index, index
        try:
            yield
        finally:
            self._index = before

    def index_for(self, tasks: Sequence[str], device: torch.device) -> AdapterIndex:
        """Return the index for rows of these tasks.

        Args:
            tasks: each row's task, or a single task for all rows.
            device: where the index's tensors are placed.

        Raises:
            InputError: no task is given, or one that the Delta does not know.
        """
        if not len(tasks):
            raise InputError(f"rows of Delta {self._owner!r} were given no task. It knows {self.in_words()}.")
        numbers = {task: self.number(task) for task in dict.fromkeys(tasks)}
        return index_of([numbers[task] for task in tasks], device)

    def index_for_pass(self) -> AdapterIndex:
        """Return the index of the current pass.

        Raises:
            InputError: the Delta holds several tasks, and the rows' tasks were not given.
        """
        if self._index is None and self.must_be_chosen:
            raise InputError(
                f"Delta {self._owner!r} holds {self.slots or len(self.tasks)} tasks and was not told which of them the "
                f"rows use. Say so: `with delta.rows([...])`. It knows {self.in_words()}."
            )
        return self._index or SINGLE_ADAPTER

    def differ_from(self, index: AdapterIndex) -> bool:
        """Return whether the current pass uses another index than this one."""
        return (self._index is not None or self.must_be_chosen) and self._index is not index

    def number(self, task: str) -> int:
        """Return the position of a task on the adapter axis.

        Args:
            task: its name, or the last part of its name (after a slash) if that is unique.

        Raises:
            InputError: the Delta knows no such task; the error names those that it knows.
        """
        if not self.tasks:
            reason = "is held by a pool, which knows tasks" if self.slots else "holds one task alone, without a name"
            raise InputError(f"Delta {self._owner!r} {reason}; {task!r} was given.")
        return self.tasks.index(resolve_task(task, self.tasks, f"Delta {self._owner!r}"))

    def in_words(self) -> str:
        """Return the names of the tasks, for an error."""
        return few_names(self.tasks, none="those of a pool, `pool.rows`" if self.slots else "one task, without a name")
