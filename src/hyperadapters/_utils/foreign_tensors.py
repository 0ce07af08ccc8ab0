"""Tensors in files of other libraries, which have no checksum of ours: safetensors and, on request, torch's own."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hyperadapters._utils.errors import InputError
from hyperadapters._utils.formatting import human_bytes
from hyperadapters._utils.tensor_files import _not_finite

_HEADER = 2**20
"""Bytes that a file may have besides its tensors."""


def read_foreign_tensors(path: Path, largest: int) -> dict[str, Tensor]:
    """Return the tensors of a file that another library wrote, on the CPU, after checking its size.

    Args:
        path: `.safetensors`, or a file of `torch.save`, of which only tensors are read (`weights_only=True`).
        largest: bytes that its tensors may take.

    Raises:
        InputError: there is no such file, it is larger, damaged or of another format, holds anything else than tensors,
            or NaN or infinity.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    size = max(path.stat().st_size, _unpacked_size(path))
    if size > largest + _HEADER:
        raise InputError(f"{path} holds {human_bytes(size)}, more than an adapter of this backbone can have.")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, TypeError, OverflowError, KeyError) as error:
        raise InputError(f"{path} is not a whole file of tensors ({_first_line(error)}).") from error
    except Exception as error:  # torch's own, and what a damaged pickle raises
        raise InputError(
            f"{path} holds something else than tensors, and is not read ({_first_line(error)})."
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path} holds something else than tensors by name, and is not read.")
    tensors = {str(name): tensor.detach() for name, tensor in found.items()}
    if bad := _not_finite(tensors):
        raise InputError(f"{path} holds NaN or infinity in {bad}.")
    return tensors


def check_bin_allowed(path: Path, *, allow_bin: bool, instead: str = "") -> None:
    """Raise InputError unless a file in torch's own format was asked for.

    Args:
        path: the file.
        allow_bin: whether it was.
        instead: what else the user can do, for the error.
    """
    if not allow_bin:
        raise InputError(
            f"{path} is in torch's own format, which may hold more than tensors. If you trust its source, read its "
            f"tensors alone with allow_bin=True (--allow-bin){instead}."
        )


def _unpacked_size(path: Path) -> int:
    """Return how many bytes the parts of a file of `torch.save` take; 0 for other files."""
    try:
        with zipfile.ZipFile(path) as file:
            return sum(part.file_size for part in file.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return 0


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
