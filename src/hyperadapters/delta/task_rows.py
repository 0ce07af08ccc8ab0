"""The tasks that a Delta holds, and the choice among them for each row of a batch.

The choice belongs to the context that made it (`contextvars`): a thread and an asyncio task have their own, and
`asyncio.to_thread` takes its caller's along. A `threading.Thread` that has made no choice uses the one in whose context
it was started, so a model can generate in a thread that is started inside `with delta.rows(...)`. The worker threads of
a pool outlive what started them, and must choose for themselves. A pool of adapters keeps them in memory as long as the
context is open, so there no choice outlives its context.

torch.compile cannot trace context variables. Compiled code reads the thread's choice, and an error is raised if asyncio
tasks of one thread have made several at once.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import thread as executor
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing.dummy import DummyProcess
from weakref import WeakSet

import torch

from hyperadapters._utils import InputError, PerThread, Turn, few_names, resolve_task
from hyperadapters.layers import SINGLE_ADAPTER, AdapterIndex, index_of


class _Choice:
    """One entered `rows` context, which remembers the threads that were started inside it.

    Args:
        index: what was chosen.
    """

    def __init__(self, index: AdapterIndex) -> None:
        self.index, self.maker, self.open = index, threading.current_thread(), True
        self._older = WeakSet(threading.enumerate())
        self._inside: WeakSet[threading.Thread] = WeakSet()

    def close(self) -> None:
        """Note which threads were started inside the context, which ends now."""
        self._inside = WeakSet(thread for thread in threading.enumerate() if thread not in self._older)
        self.open = False

    @property
    def needed(self) -> bool:
        """Whether a thread may still use the choice."""
        return self.open or bool(self._inside)

    def was_inherited_by(self, thread: threading.Thread) -> bool:
        """Return whether a thread was started while the context was open."""
        return thread not in self._older if self.open else thread in self._inside


_CHOICES: ContextVar[Mapping["_TaskRows", _Choice]] = ContextVar("hyperadapters rows")
"""In each context, the choice for every Delta that one was made for."""


class _ThreadChoice(PerThread):
    """What compiled code reads: the thread's choice, and whether contexts of this thread have made several at once."""

    def __init__(self) -> None:
        self.index: AdapterIndex | None = None
        self.depth, self.mixed = 0, False


class _TaskRows:
    """The names on a Delta's adapter axis, and the rows' choice of adapters in the current context.

    Args:
        owner: the Delta's name, for errors.
        tasks: names on the adapter axis, in order; empty if the Delta holds one task without a name.
        slots: length of the axis if a pool manages the Delta and knows the names, else 0.
    """

    def __init__(self, owner: str, tasks: tuple[str, ...], slots: int) -> None:
        self._owner, self.tasks, self.slots = owner, tasks, slots
        self._choices: list[_Choice] = []
        self._choices_turn = Turn()
        self._thread = _ThreadChoice()

    def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...], int]]:
        """Copy the names without the choices, which belong to the contexts that made them."""
        return _TaskRows, (self._owner, self.tasks, self.slots)

    @property
    def must_be_chosen(self) -> bool:
        """Whether the adapters that the rows use must be given before a pass."""
        return len(self.tasks) > 1 or self.slots > 0

    @contextmanager
    def using(self, index: AdapterIndex) -> Iterator[None]:
        """Use this index in all passes of this context, and of threads that are started inside."""
        outer, choice = _CHOICES.get({}), self._opened(index)
        token = _CHOICES.set({**outer, self: choice})
        thread, thread_outer = self._thread, self._thread.index
        made_here = outer[self].index if self in outer else None
        thread.mixed = thread.mixed or (thread.depth > 0 and thread_outer is not made_here)
        thread.index, thread.depth = index, thread.depth + 1
        try:
            yield
        finally:
            choice.close()
            thread.depth -= 1
            thread.index, thread.mixed = (thread_outer, thread.mixed) if thread.depth else (None, False)
            try:
                _CHOICES.reset(token)
            except ValueError:  # the generator that entered this context is closed from another one
                _CHOICES.set({key: value for key, value in _CHOICES.get({}).items() if key is not self})

    def _opened(self, index: AdapterIndex) -> _Choice:
        """Note a choice that begins, and forget those that nothing can use any more."""
        choice = _Choice(index)
        self._choices_turn.take()
        self._choices = [*(earlier for earlier in self._choices if earlier.needed), choice]
        self._choices_turn.give()
        return choice

    def chosen(self) -> AdapterIndex | None:
        """Return the index that applies here; None if no choice was made.

        Raises:
            InputError: compiled code runs in a thread in which several contexts have made choices at once.
        """
        if torch.compiler.is_compiling():
            if self._thread.mixed:
                raise InputError(
                    f"asyncio tasks in one thread have chosen different rows of Delta {self._owner!r}, which compiled "
                    "code cannot tell apart: run them in threads (`asyncio.to_thread`), or without torch.compile."
                )
            return self._thread.index
        choice = _CHOICES.get({}).get(self) or (self._inherited() if self._choices else None)
        if choice is None or (self.slots and not choice.open):  # a pool may have given the slots to other adapters
            return None
        return choice.index

    def _inherited(self) -> _Choice | None:
        """Return the choice in whose context the current thread was started; None if there is none or more than one."""
        thread = threading.current_thread()
        if isinstance(thread, DummyProcess | threading._DummyThread) or thread in executor._threads_queues:
            return None
        found = [choice for choice in self._choices if choice.was_inherited_by(thread)]
        return found[-1] if len({choice.maker for choice in found}) == 1 else None

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
            InputError: the Delta holds several tasks, and the rows' tasks were not given in this context.
        """
        index = self.chosen()
        if index is None and self.must_be_chosen:
            raise InputError(
                f"Delta {self._owner!r} holds {self.slots or len(self.tasks)} tasks and was not told which of them the "
                f"rows use. Say so: `with delta.rows([...])`, in the thread that computes. It knows {self.in_words()}."
            )
        return index or SINGLE_ADAPTER

    def differ_from(self, index: AdapterIndex) -> bool:
        """Return whether the current pass uses another index than this one."""
        chosen = self.chosen()
        return (chosen is not None or self.must_be_chosen) and chosen is not index

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
