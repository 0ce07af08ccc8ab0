"""Ctrl-C during training: it stops at the end of a step, with a checkpoint."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_at_step_end(asked: threading.Event) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop when the step is done; a second one stops at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        os.write(2, b"\nstopping after this step; Ctrl-C again to stop at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
