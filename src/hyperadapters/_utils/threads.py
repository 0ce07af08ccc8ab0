"""State that threads must not share: attributes for each thread, and turns at something that one thread uses at a time.

Both can be copied with `copy.deepcopy`, as a backbone with its hooks is; a copy starts empty and free.
"""

import threading

from torch.compiler import is_compiling

from hyperadapters._utils.errors import InputError


class PerThread(threading.local):
    """Attributes that every thread has for itself. A subclass's `__init__` sets their first values in each thread."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()


class Turn:
    """The right to use something that only one thread may use at a time; others wait.

    A turn that a thread did not give back, because Ctrl-C interrupted it, is that thread's to take again. In code that
    torch.compile traces there are no turns, because compiled code writes no attributes before it has ended.
    """

    SECONDS = 60.0
    """How long a thread waits before it reports that a turn was not given back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Turn, ()

    @property
    def mine(self) -> bool:
        """Whether the current thread has the turn."""
        return is_compiling() or self._owner == threading.get_ident()

    def take(self) -> bool:
        """Wait for the turn and take it.

        Returns:
            Whether it was taken; False if this thread has it already.

        Raises:
            InputError: another thread has had it for `SECONDS`.
        """
        if is_compiling():
            return True
        if self.mine:
            return False
        if not self._lock.acquire(timeout=self.SECONDS):
            raise InputError(
                f"another thread has been computing with one module for {self.SECONDS:.0f} s. If a pass was "
                "interrupted there, run one pass in that thread, or take the Delta out of use and into use again."
            )
        self._owner = threading.get_ident()
        return True

    def give(self) -> None:
        """Give the turn back, if the current thread has it."""
        if self.mine and not is_compiling():
            self._owner = None
            self._lock.release()
