"""Files that are written whole or not at all, and tensors that are checked before memory is taken for them."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hyperadapters._utils.errors import InputError, listed

LARGEST_JSON = 16 * 2**20
"""Bytes; a larger file is refused unread."""

_UNFINISHED = ".tmp"
"""The ending of a file that is being written; a process that is killed meanwhile leaves it behind."""

_FLOATS = {"F64", "F32", "F16", "BF16"}
"""The types of safetensors that a Delta may be saved in."""


def _replace(temporary: Path, path: Path) -> None:
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    temporary = path.with_name(path.name + _UNFINISHED)
    temporary.write_bytes(content)
    _replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a crash leaves the old file or the new one."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: there is no such file, it is larger than `LARGEST_JSON`, or it holds no JSON object.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    if path.stat().st_size > LARGEST_JSON:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST_JSON:,} are read.")
    return json_object(path.read_bytes(), str(path))


def json_object(text: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object that a text holds.

    Args:
        text: UTF-8.
        where: where it was found, for errors.

    Raises:
        InputError: it holds no JSON object.
    """
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or a number of too many digits
        raise InputError(f"{where} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise InputError(f"{where} holds a {type(value).__name__}, not a JSON object.")
    return value


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file so that a crash leaves the old one or the new one."""
    temporary = path.with_name(path.name + _UNFINISHED)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    temporary.unlink(missing_ok=True)
    temporary.touch()
    mode = temporary.stat().st_mode  # as of any new file; safetensors makes one that only its owner can read
    save_file(plain, temporary, metadata={"format": "pt", **(metadata or {})})
    temporary.chmod(mode)
    _replace(temporary, path)


def open_tensors(path: Path) -> Any:
    """Open a safetensors file after checking its header against its length; no tensor is read.

    Raises:
        InputError: there is no such file, it is truncated, too long or of another format.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole safetensors file ({error}). Copy it again from its source.") from error


def check_tensors(path: Path, expected: Mapping[str, Tensor]) -> None:
    """Raise InputError unless the header of a file fits the tensors that it should hold; no tensor is read.

    Args:
        path: a safetensors file.
        expected: by name; shapes are compared, and that the file's types are floating point.

    Raises:
        InputError: names, shapes or types differ; every bad tensor is listed.
    """
    with open_tensors(path) as file:
        problems = [f"{name}: missing" for name in expected if name not in set(file.keys())]
        for name in file.keys():  # noqa: SIM118 (not a dict)
            found = file.get_slice(name)
            if name not in expected:
                problems.append(f"{name}: not part of this method")
            elif list(found.get_shape()) != list(expected[name].shape):
                problems.append(f"{name}: shape {found.get_shape()}, expected {list(expected[name].shape)}")
            elif found.get_dtype() not in _FLOATS:
                problems.append(f"{name}: type {found.get_dtype()}, expected floating point")
    if problems:
        raise InputError(f"{path} does not fit:\n  {listed(problems, most=50)}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; check the file first (`check_tensors`)."""
    with open_tensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


@torch.no_grad()
def read_into(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors of a file into `tensors`, in place; check the file first (`check_tensors`)."""
    with open_tensors(path) as file:
        for name, tensor in tensors.items():
            tensor.copy_(file.get_tensor(name))


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
    present = [name for name in names if name != _LOCK and not name.endswith(_UNFINISHED)]
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

    Raises:
        InputError: another process works in it.
    """
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another process is at work in {folder}: wait for it, or name another folder.") from error
    try:
        yield
    finally:
        (folder / _LOCK).unlink(missing_ok=True)
        lock.release()


def make_output(folder: Path) -> None:
    """Create a folder and check that files can be written to it.

    Raises:
        InputError: it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable{_UNFINISHED}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"the output folder {folder} cannot be written: {error.strerror or error}.") from error
