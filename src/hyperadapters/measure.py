"""What a method costs: parameters, bytes, time, memory."""

import ctypes
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from hyperadapters.backbone import meta_backbone
from hyperadapters.methods.delta import Delta, attach
from hyperadapters.methods.method import Method


@dataclass(frozen=True)
class Parameters:
    """What a method trains on a backbone."""

    by_kind: dict[str, int]
    trained: int
    total: int
    """Parameters of the backbone, tied ones once."""
    bytes: int
    """Size of the saved adapter."""

    @property
    def percent(self) -> float:
        """Trained parameters in percent of the backbone's, as the papers' tables give it."""
        return 100 * self.trained / self.total


def parameters(delta: Delta) -> Parameters:
    """What a Delta trains, by kind."""
    by_kind = delta.count()
    return Parameters(
        {str(kind): number for kind, number in by_kind.items()},
        sum(by_kind.values()),
        delta.anatomy.parameters,
        delta.bytes(),
    )


def parameters_of(backbone: str, method: Method) -> Parameters:
    """What a method would train on a backbone, from its config alone: exact, and as fast for 11 B as for 60 M.

    Raises:
        InputError: no such backbone, or the method does not fit it.
    """
    return parameters(attach(meta_backbone(backbone), method))


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


def human_bytes(count: int | float) -> str:
    """Bytes with a unit, powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
