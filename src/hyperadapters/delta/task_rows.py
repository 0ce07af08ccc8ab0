"""Which tasks a Delta holds, and which of them each row of a batch uses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from hyperadapters._utils import InputError, resolve_task
from hyperadapters.layers import SINGLE_ADAPTER, AdapterIndex, index_of


class TaskRows:
    """The names on a Delta's adapter axis, and the choice of rows for the passes under way.

    Args:
        owner: the Delta's name, for errors.
        tasks: names on the adapter axis, in order; empty where the Delta serves one task without a name.
        slots: length of the axis where a pool holds the Delta and keeps the names; else 0.
    """

    def __init__(self, owner: str, tasks: tuple[str, ...], slots: int) -> None:
        self._owner, self.tasks, self.slots = owner, tasks, slots
        self._index: AdapterIndex | None = None

    @property
    def must_be_chosen(self) -> bool:
        """Whether a pass must be told which adapters its rows use."""
        return len(self.tasks) > 1 or self.slots > 0

    @contextmanager
    def using(self, index: AdapterIndex) -> Iterator[None]:
        """Let the passes inside this context compute these rows."""
        before, self._index = self._index, index
        try:
            yield
        finally:
            self._index = before

    def index_for(self, tasks: Sequence[str], device: torch.device) -> AdapterIndex:
        """Return the adapters that rows of these tasks use.

        Raises:
            InputError: no task is given, or one that the Delta does not know.
        """
        if not len(tasks):
            raise InputError(f"rows of Delta {self._owner!r} were given no task. It knows {self.in_words()}.")
        numbers = {task: self.number(task) for task in dict.fromkeys(tasks)}
        return index_of([numbers[task] for task in tasks], device)

    def index_for_pass(self) -> AdapterIndex:
        """Return the adapters that the rows of the pass under way use.

        Raises:
            InputError: there are several, and nobody said which.
        """
        if self._index is None and self.must_be_chosen:
            raise InputError(
                f"Delta {self._owner!r} holds {self.slots or len(self.tasks)} tasks and was not told which of them the "
                f"rows use: `with delta.rows([...])`. It knows {self.in_words()}."
            )
        return self._index or SINGLE_ADAPTER

    def differ_from(self, index: AdapterIndex) -> bool:
        """Return whether the pass under way is of other rows than these."""
        return (self._index is not None or self.must_be_chosen) and self._index is not index

    def number(self, task: str) -> int:
        """Return the place of a task on the adapter axis; the last part of its name will do where it is unique.

        Raises:
            InputError: the Delta knows no such task; names those it knows.
        """
        if not self.tasks:
            held = "is held by a pool, which knows tasks" if self.slots else "holds one task alone, without a name"
            raise InputError(f"Delta {self._owner!r} {held}; {task!r} was given.")
        return self.tasks.index(resolve_task(task, self.tasks, f"Delta {self._owner!r}"))

    def in_words(self) -> str:
        """Return the names of the tasks, for an error."""
        return ", ".join(self.tasks) or ("those of a pool, `pool.rows`" if self.slots else "one alone, without a name")
