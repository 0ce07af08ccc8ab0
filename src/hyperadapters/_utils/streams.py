"""A file named by the user that is written as a stream: whole or not at all, and never in place of something else."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hyperadapters._utils.errors import InputError
from hyperadapters._utils.paths import follow_links

_DESCRIPTORS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")
"""Where paths begin that name an open file of a process: what stands behind it must not be exchanged."""


def is_stream(path: Path) -> bool:
    """Return whether a path names a device, a pipe or an open file, which is written to and never replaced."""
    if str(path).startswith(_DESCRIPTORS):
        return True
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


_UNFINISHED = ".unfinished.tmp"
"""The ending of a file that is being written."""


@contextmanager
def write_stream(path: Path) -> Iterator[TextIO]:
    """Open a text file to write, which appears at `path` when it is whole; after an error the old one is still there.

    A device or a pipe is written to as it is; of a link, the file that it leads to is replaced.

    Args:
        path: the file.

    Yields:
        The file, as UTF-8.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with _directly(path) if is_stream(path) else _beside(follow_links(path)) as file:
            yield file
    except OSError as error:
        if isinstance(error, BrokenPipeError) or not _is_ours(error, path):
            raise
        raise InputError(f"{path} could not be written: {error.strerror or error}.") from error


def _is_ours(error: OSError, path: Path) -> bool:
    """Return whether an error is of writing to `path`, and not of a file that is read meanwhile."""
    return not error.filename or str(error.filename) == str(path) or str(error.filename).endswith(_UNFINISHED)


@contextmanager
def _directly(path: Path) -> Iterator[TextIO]:
    with path.open("a", encoding="utf-8") as file:  # what stands behind a descriptor keeps what it holds already
        yield file


@contextmanager
def _beside(path: Path) -> Iterator[TextIO]:
    """Open a new file in the same folder, which takes the place of `path` at the end."""
    temporary = path.with_name(f".{secrets.token_hex(4)}{_UNFINISHED}")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            if path.exists():
                shutil.copymode(path, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
