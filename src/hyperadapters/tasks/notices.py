"""What is said of a user's files once, though they are read several times."""

import functools

from hyperadapters._utils import console


@functools.cache
def _say_once(message: str) -> None:
    """Write a message to standard error, unless this process has written it; of several processes, the main one."""
    from hyperadapters._utils import process_state  # noqa: PLC0415 (slow to import)

    if process_state().is_main_process:
        console.print(message, soft_wrap=True)
