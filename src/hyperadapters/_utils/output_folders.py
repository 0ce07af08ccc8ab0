"""Folders that output goes to: usable, writable, and worked in by one process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hyperadapters._utils.errors import InputError
from hyperadapters._utils.files import UNFINISHED, make_folder, writing


def check_output(folder: Path, *, resume: bool, marker: str = "") -> None:
    """Raise InputError unless an output folder can be used: it is new or empty or, to resume, contains `marker`.

    Nothing is written. Half-written files that a killed process left do not count.

    Args:
        folder: where output is to go.
        resume: whether a run in the folder may be resumed.
        marker: the file that shows that the folder holds a run.

    Raises:
        InputError: it is a file, cannot be written, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output {folder} is a file: name a folder.")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    present = [name for name in names if name != _LOCK and not name.endswith(UNFINISHED)]
    if present and not (resume and marker in present):
        hint = (
            "Add --resume to go on with the run in it, or name another folder."
            if marker in present
            else "Name an empty or a new folder."
        )
        raise InputError(f"the output folder {folder} is not empty ({', '.join(present[:4])}). {hint}")
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(above, os.W_OK):
        raise InputError(f"the output folder {folder} cannot be written: no permission in {above}.")


_LOCK = ".lock"
"""The lock file of a folder that a process works in. A killed process leaves the file, but not the lock."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes; the system releases the lock even when this process is killed.

    What a killed process has left half written there is removed.

    Raises:
        InputError: another process works in it.
    """
    lock = FileLock(folder / _LOCK)
    try:
        with writing(folder / _LOCK):
            lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another process is at work in {folder}: wait for it, or name another folder.") from error
    try:
        for left in folder.glob(f".*{UNFINISHED}"):
            with suppress(OSError):
                left.unlink()
        yield
    finally:
        (folder / _LOCK).unlink(missing_ok=True)
        lock.release()


def make_output(folder: Path) -> None:
    """Create a folder and check that files can be written to it.

    Raises:
        CannotWriteError: it cannot be created or written.
    """
    make_folder(folder)
    with writing(folder):
        probe = folder / f".writable{UNFINISHED}"
        probe.touch()
        probe.unlink()
