"""Files that are written whole or not at all, with a checksum that every reader compares.

Tensors are checked before memory is taken for them.
"""

import hashlib
import json
import os
import shutil
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hyperadapters._utils.errors import CannotWriteError, InputError, listed
from hyperadapters._utils.paths import follow_links

LARGEST_JSON = 16 * 2**20
"""Bytes; a larger file is refused unread."""

_UNFINISHED = ".tmp"
"""The ending of a file that is being written; a process that is killed meanwhile leaves it behind."""

_CHECKSUM = "checksum"
"""What the SHA-256 is called that JSON and tensors are written with."""

_FLOATS = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_TYPES = {**_FLOATS, torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}
"""What safetensors calls the types that are written."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write whose content takes the place of `path` when the context ends, whole or not at all.

    Every file that we write goes through here: a crash leaves the old one or the new one, an error the old one alone.
    Where `path` is a link, the file that it points to is replaced.

    Raises:
        CannotWriteError: the disk is full, there is no permission, or `path` is a folder, a device or a pipe.
    """
    target = follow_links(path)
    temporary = target.with_name(target.name + _UNFINISHED)
    with _writing(path):
        if target.exists() and not target.is_file():
            raise CannotWriteError(f"{path} cannot be written: it is no regular file. Name a new file.")
        try:
            with temporary.open("wb") as file:
                if target.exists():
                    shutil.copymode(target, temporary)
                yield file
                file.flush()
                os.fsync(file.fileno())
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
    with _writing(path), path.open("ab") as file:  # what stands behind a descriptor keeps what it holds already
        yield file


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the system says against writing to a place into an error of the user's side."""
    try:
        yield
    except (BrokenPipeError, Timeout):
        raise
    except OSError as error:
        raise CannotWriteError(
            f"{path} cannot be written: {error.strerror or error}. Make room, or name another place."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    with replacing(path) as file:
        file.write(content)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object and its checksum so that a crash leaves the old file or the new one; `read_json` compares it.

    Args:
        path: the file.
        value: what JSON can hold. A file name that is no text in it is written as JSON's escapes.
    """
    text = json.dumps({**value, _CHECKSUM: json_digest(value)}, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode(errors="backslashreplace"))


def json_digest(value: Any) -> str:
    """Return the SHA-256 of what a JSON value means, however it is spaced and its keys are ordered."""
    plain = json.loads(json.dumps(value))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def check_json(values: Mapping[str, Any], where: str, *, required: bool = False) -> dict[str, Any]:
    """Return a JSON object without the checksum that `write_json` gave it, after comparing it.

    Args:
        values: the object. One without a checksum was written by hand, or checked before.
        where: where it was found, for errors.
        required: refuse an object without a checksum.

    Raises:
        InputError: something in it was changed after it was written, or it has no checksum though one is required.
    """
    rest = {key: value for key, value in values.items() if key != _CHECKSUM}
    if required and _CHECKSUM not in values:
        raise InputError(f"{where} has no {_CHECKSUM}: it was changed after it was written. Use an intact copy.")
    if _CHECKSUM in values and values[_CHECKSUM] != json_digest(rest):
        raise InputError(
            f"{where} was changed after it was written: its {_CHECKSUM} does not fit its content. Use an intact copy"
            + ("." if required else f"; if the change is meant, remove its {_CHECKSUM}.")
        )
    return rest


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, and compare the checksum that `write_json` gave it; one without a checksum is read as it is.

    Raises:
        InputError: there is no such file, it is larger than `LARGEST_JSON`, it holds no JSON object, or it was changed
            after it was written.
    """
    return check_json(read_unchecked_json(path), str(path))


def read_unchecked_json(path: Path) -> dict[str, Any]:
    """Read a JSON object with its checksum, if it has one, which the caller compares by `check_json`.

    Raises:
        InputError: there is no such file, it is larger than `LARGEST_JSON`, or it holds no JSON object.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_JSON + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(text) > LARGEST_JSON:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST_JSON:,} are read.")
    return json_object(text, str(path))


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


class SavedTensors(NamedTuple):
    """What a safetensors file holds."""

    tensors: dict[str, Tensor]
    """By name, on the CPU. They are mapped from the file: memory is taken where they are copied."""
    metadata: dict[str, str]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file with a checksum over tensors and metadata; a crash leaves the old file or the new one.

    The same content gives the same bytes, which the library's own writer does not promise: it orders metadata at
    random, and a warm start names the file by its SHA-256.

    Args:
        path: the file; its folder is made if there is none.
        tensors: by name.
        metadata: by name.

    Raises:
        InputError: a tensor holds NaN or infinity, or the file cannot be written. The old file is as it was.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    if bad := _not_finite(plain):
        raise InputError(
            f"{path} was not written: NaN or infinity in {bad}. The training has diverged: use a smaller learning "
            "rate, or go back to weights of before."
        )
    texts = {"format": "pt", **(metadata or {})}
    texts[_CHECKSUM] = _tensors_digest(plain, texts)
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        ordered = sorted(plain.items(), key=lambda item: -item[1].element_size())  # so that each is aligned
        file.write(_tensors_header(dict(ordered), texts))
        for _, tensor in ordered:
            file.write(_bytes_of(tensor))


def _tensors_header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return how a safetensors file begins: the length of its header, and the header as JSON."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": [*tensor.shape], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _tensors_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 over metadata, and over each tensor's name, type, shape and bytes."""
    texts = sorted((key, value) for key, value in metadata.items() if key != _CHECKSUM)
    forms = [(name, str(tensor.dtype), [*tensor.shape]) for name, tensor in sorted(tensors.items())]
    found = hashlib.sha256(json.dumps([texts, forms]).encode())
    for _, tensor in sorted(tensors.items()):
        found.update(_bytes_of(tensor))
    return found.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Return the names of the tensors that hold NaN or infinity, the first of them; empty: there is none."""
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    bad = [name for name, tensor in floats.items() if not torch.isfinite(tensor).all()]
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return f"{', '.join(bad[:3])}{more}"


def read_tensors(path: Path, expected: Mapping[str, Tensor] | None = None) -> SavedTensors:
    """Read what `write_tensors` wrote, after checking all of it.

    The header is compared with the file's length and with what is expected before a tensor is read.

    Args:
        path: the file.
        expected: tensors by name, which the file's must be like: names and shapes are compared, and that the file's
            types are floating point. None: whatever it holds.

    Raises:
        InputError: there is no such file; it is truncated, too long, of another format or without a checksum; names,
            shapes or types differ (every bad tensor is listed); a bit of it has changed; or a tensor holds NaN or
            infinity.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            _check_header(path, file, expected)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except InputError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        why = str(error).split("\n")[0]
        raise InputError(f"{path} is not a whole safetensors file ({why}). Copy it again from its source.") from error
    _check_content(path, tensors, metadata)
    return SavedTensors(tensors, metadata)


def _check_header(path: Path, file: Any, expected: Mapping[str, Tensor] | None) -> None:
    """Raise InputError unless the header of an open file fits the tensors that it should hold; no tensor is read."""
    if expected is None:
        return
    names = set(file.keys())
    problems = [f"{name}: missing" for name in expected if name not in names]
    for name in sorted(names):
        found = file.get_slice(name)
        if name not in expected:
            problems.append(f"{name}: not part of this method")
        elif list(found.get_shape()) != list(expected[name].shape):
            problems.append(f"{name}: shape {found.get_shape()}, expected {list(expected[name].shape)}")
        elif found.get_dtype() not in _FLOATS.values():
            problems.append(f"{name}: type {found.get_dtype()}, expected floating point")
    if problems:
        raise InputError(f"{path} does not fit:\n  {listed(problems, most=50)}")


def _check_content(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Raise InputError unless tensors and metadata are what was written, and finite."""
    if _CHECKSUM not in metadata:
        raise InputError(f"{path} has no {_CHECKSUM}, so hyperadapters did not write it. Use an intact copy.")
    if _tensors_digest(tensors, metadata) != metadata[_CHECKSUM]:
        raise InputError(
            f"{path} was changed after it was written: its {_CHECKSUM} does not fit its content. Copy it again from "
            "its source."
        )
    if bad := _not_finite(tensors):
        raise InputError(f"{path} holds NaN or infinity in {bad}. Train it again with a smaller learning rate.")


@torch.no_grad()
def copy_tensors(values: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy values, such as those of `read_tensors`, into the tensors of the same names, in place."""
    for name, tensor in tensors.items():
        tensor.copy_(values[name])


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
        with _writing(folder / _LOCK):
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
        CannotWriteError: it cannot be created or written.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable{_UNFINISHED}"
        probe.touch()
        probe.unlink()
