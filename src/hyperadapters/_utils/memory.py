"""Gauges of memory: what autograd keeps, and the most that was in use.

Torch and the standard library alone, so that a benchmark can read them in an environment without the package.
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
    """Collects what forward passes inside the context keep for their backward pass: bytes by storage.

    Views of one storage count once. Parameters, which are there anyhow, do not count; what is made from them, such
    as the matrices of Compacter, does.
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
    """The most memory in use between construction and `read`, in bytes.

    On CUDA what the allocator held, backbone included. On Linux the growth of the process's resident memory since
    construction, the backbone being there already; elsewhere the process's peak.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif sys.platform == "linux":
            release_freed_memory()
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the high-water mark
            self.before = resident("VmRSS")

    def read(self) -> int:
        """Bytes at the peak so far."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        if sys.platform == "linux":
            return max(0, resident("VmHWM") - self.before)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def resident(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))


def release_freed_memory() -> None:
    """Give freed memory back to the system, so that one run's does not count for the next."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except OSError:
        return
