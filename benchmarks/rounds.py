"""Times in interleaved rounds within a budget of seconds, and reports that are written part by part."""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

STARTED = time.monotonic()
"""When this process had begun: this module is loaded before anything is measured."""


class Budget:
    """Seconds that a script may spend, counted from its start.

    Args:
        seconds: how many; None for no bound.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = math.inf if seconds is None else seconds

    def left(self) -> float:
        """Seconds until the budget is spent; below zero afterwards."""
        return self.seconds - (time.monotonic() - STARTED)

    def share(self, part: float) -> "Budget":
        """A budget that ends when this part of what is left now is spent."""
        return Budget(None if math.isinf(self.seconds) else self.seconds - (1 - part) * max(0.0, self.left()))


def add_budget(parser: argparse.ArgumentParser) -> None:
    """Give a script the option --budget."""
    parser.add_argument("--budget", type=float, help="end by yourself after so many seconds; default: no bound")


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """Return the processor time of an action, or on a GPU the wall-clock time until all its work is done."""
    start = now(device)
    action()
    return now(device) - start


def now(device: torch.device) -> float:
    """Return seconds, on a GPU once everything asked for is done."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def in_rounds(variants: Mapping[str, Callable[[], float]], rounds: int, budget: Budget) -> dict[str, list[float]]:
    """Let all variants take turns, and return the seconds of each by round.

    Args:
        variants: by name, what measures itself once, warmed up.
        rounds: at most so many, 0 for none.
        budget: no round is begun that would not fit in it, but the first is.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    longest = 0.0
    for number in range(rounds):
        start = time.monotonic()
        if number and budget.left() < longest:
            break
        for name, measured in variants.items():
            times[name].append(measured())
        longest = max(longest, time.monotonic() - start)
    return times


def write_report(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, whole or not at all, over an earlier one that held less of it."""
    if path is None:
        return
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def card(device: torch.device) -> str:
    """Return the name of the GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
