"""Files that are written whole or not at all."""

import hashlib
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import Timeout

from hyperadapters._utils.errors import CannotWriteError, UnavailableError
from hyperadapters._utils.paths import follow_links

UNFINISHED = ".tmp"
"""The ending of a file that is being written; a process that is killed meanwhile leaves it behind."""


class _Output(io.FileIO):
    """A file that is being written; a full disk is an error of the user's side."""

    def __init__(self, opened: Path, mode: str, named: Path):
        with writing(named):
            super().__init__(opened, mode)
        self.named = named

    def write(self, content: Any) -> int:
        with writing(self.named):
            return super().write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write whose content takes the place of `path` when the context ends, whole or not at all.

    Every file that we write goes through here: a crash leaves the old one or the new one, an error the old one alone.
    Where `path` is a link, the file that it points to is replaced. Of several writers the last one's content stays.

    Raises:
        CannotWriteError: the disk is full, there is no permission, or `path` is a folder, a device or a pipe.
    """
    with writing(path):
        target = follow_links(path)
        temporary = target.with_name(f".{secrets.token_hex(8)}{UNFINISHED}")
        if target.exists() and not target.is_file():
            folder = IsADirectoryError(target) if target.is_dir() else None  # a sweep clears it away
            raise CannotWriteError(f"{path} cannot be written: it is no regular file. Name a new file.") from folder
    try:
        with io.BufferedWriter(_Output(temporary, "xb", path)) as file:
            with suppress(FileNotFoundError):  # what was there before has a mode to keep
                shutil.copymode(target, temporary)
            yield file
            file.flush()
            with writing(path):
                os.fsync(file.fileno())
        with writing(path):
            temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


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


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write that the user has named: a device or a pipe as it is, else as `replacing` does.

    Raises:
        CannotWriteError: as `replacing`.
    """
    if not is_stream(path):
        with replacing(path) as file:
            yield file
        return
    with io.BufferedWriter(_Output(path, "ab", path)) as file:  # what is behind a descriptor keeps what it holds
        yield file


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says against writing to a place into an error of the user's side."""
    try:
        yield
    except (BrokenPipeError, Timeout):
        raise
    except OSError as error:
        raise CannotWriteError(
            f"{path} cannot be written: {error.strerror or error}. Make room, or name another place."
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        CannotWriteError: there is no permission, or a file has its name.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    with replacing(path) as file:
        file.write(content)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        UnavailableError: there is no such file.
    """
    if not path.is_file():
        raise UnavailableError(f"{path} does not exist.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
