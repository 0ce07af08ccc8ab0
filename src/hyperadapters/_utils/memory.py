"""Measurements of memory: the bytes that autograd keeps, and the peak of what is in use.

Imports torch and the standard library alone, so that a benchmark can use it in an environment without the package.
"""

import ctypes
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def saved_tensors(module: nn.Module) -> Iterator[dict[int, int]]:
    """Collect the bytes, by storage, that forward passes inside the context keep for their backward pass.

    Views of one storage count once. Parameters do not count, since they are in memory anyway; tensors made from them,
    such as the matrices of Compacter, do.

    Args:
        module: its parameters are left out.
    """
    parameters = {tensor.untyped_storage().data_ptr() for tensor in module.parameters()}
    saved: dict[int, int] = {}
    alive: list[Any] = []  # a storage that is freed within the pass would lend its address to another

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)
        return tensor.detach()  # an operation that keeps its own output would keep itself alive

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved


class PeakMemory:
    """The peak of memory in use between construction and `read`, in bytes.

    On CUDA it is what the allocator held, the backbone included. On Linux it is the growth of the process's resident
    memory since construction, so without the backbone; elsewhere the process's peak.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif sys.platform == "linux":
            _release_freed_memory()
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the high-water mark
            self.before = _resident("VmRSS")

    def read(self) -> int:
        """Return the bytes at the peak so far."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        if sys.platform == "linux":
            return max(0, _resident("VmHWM") - self.before)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _resident(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


def _release_freed_memory() -> None:
    """Give freed memory back to the system, so that one run's memory does not count for the next."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except OSError:
        return
