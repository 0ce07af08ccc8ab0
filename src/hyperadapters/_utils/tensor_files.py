"""Tensors in safetensors files, checked before memory is taken for them, with a checksum that every reader compares."""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hyperadapters._utils.errors import InputError, listed
from hyperadapters._utils.files import make_folder, replacing
from hyperadapters._utils.json_files import CHECKSUM

_FLOATS = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_TYPES = {**_FLOATS, torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}
"""What safetensors calls the types that are written."""


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
    texts[CHECKSUM] = _tensors_digest(plain, texts)
    make_folder(path.parent)
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
    texts = sorted((key, value) for key, value in metadata.items() if key != CHECKSUM)
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
    bad = [name for name, tensor in floats.items() if not _is_finite(tensor)]
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return f"{', '.join(bad[:3])}{more}"


def _is_finite(tensor: Tensor) -> bool:
    """Return whether a tensor holds neither NaN nor infinity.

    One of them makes the sum NaN or infinite; so may large numbers, of which each is looked at then.
    """
    return math.isfinite(tensor.sum()) or bool(torch.isfinite(tensor).all())


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
        raise _not_whole(path, error) from error
    _check_content(path, tensors, metadata)
    return SavedTensors(tensors, metadata)


def stated_checksum(path: Path) -> str:
    """Return the checksum that a file of `write_tensors` states; nothing of it is read but the header.

    Args:
        path: the file.

    Raises:
        InputError: there is no such file, it is not whole, or it states none.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    try:
        with safe_open(path, framework="np") as file:  # for torch it would map the file a second time
            metadata: dict[str, str] = dict(file.metadata() or {})
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise _not_whole(path, error) from error
    if CHECKSUM not in metadata:
        raise InputError(f"{path} states no {CHECKSUM}, so it is not a file of hyperadapters. Use an intact copy.")
    return metadata[CHECKSUM]


def _not_whole(path: Path, error: Exception) -> InputError:
    why = str(error).split("\n")[0]
    return InputError(f"{path} is not a whole safetensors file ({why}). Copy it again from its source.")


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
    if CHECKSUM not in metadata:
        raise InputError(f"{path} has no {CHECKSUM}, so hyperadapters did not write it. Use an intact copy.")
    if _tensors_digest(tensors, metadata) != metadata[CHECKSUM]:
        raise InputError(
            f"{path} was changed after it was written: its {CHECKSUM} does not fit its content. Copy it again from "
            "its source."
        )
    if bad := _not_finite(tensors):
        raise InputError(f"{path} holds NaN or infinity in {bad}. Train it again with a smaller learning rate.")


@torch.no_grad()
def copy_tensors(values: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy values, such as those of `read_tensors`, into the tensors of the same names, in place."""
    for name, tensor in tensors.items():
        tensor.copy_(values[name])
