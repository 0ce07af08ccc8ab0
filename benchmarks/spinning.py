"""What another busy process on the machine costs a training step, by how long OpenMP's threads spin where they wait.

    python benchmarks/spinning.py --output results/spinning.json

A thread that has finished its part of an operation spins until the others have; where another process holds their
processor, it spins through their whole wait, at every operation. GNU's library spins 300,000 rounds unless
GOMP_SPINCOUNT says otherwise; the command line sets 5,000 (`cli/base.py`). Each figure is the median of steps of a
fresh encoder of MiniLM-L6's dimensions, forward and backward, 16 rows of 24 tokens, over that of the default on the
idle machine. Every variant is a process of its own, in turn, on all processors, idle and with one endless loop beside
it.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from hyperadapters._utils import library_versions

SPINS = ("", "1000", "5000", "20000", "100000")
"""Values of GOMP_SPINCOUNT; empty: not set."""
SECONDS = 6.0


def step_time() -> float:
    """Return the median time of a step, for some seconds."""
    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, vocab_size=30522
    )
    model = BertModel(config).train()
    tokens, times, end = torch.randint(5, 20000, (16, 24)), [], time.monotonic() + SECONDS
    while len(times) < 3 or time.monotonic() < end:
        start = time.monotonic()
        model(input_ids=tokens).last_hidden_state.sum().backward()
        times.append(time.monotonic() - start)
    return statistics.median(times[1:])


def measured(spins: str) -> float:
    """Return the time of a step in a process with this environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GOMP_", "OMP_"))}
    found = subprocess.run(
        [sys.executable, __file__, "--step"],
        env=environment | ({"GOMP_SPINCOUNT": spins} if spins else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(found.stdout)


def spin_forever() -> None:
    """Keep a processor busy."""
    while True:
        pass


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many endless loops beside the measurement."""
    loops = [multiprocessing.Process(target=spin_forever, daemon=True) for _ in range(count)]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(step_time())
        return
    times: dict[str, dict[str, list[float]]] = {"idle": {}, "busy": {}}
    for _ in range(args.rounds):
        for state, loops in (("idle", 0), ("busy", 1)):
            with busy(loops):
                for spins in SPINS:
                    times[state].setdefault(spins or "default", []).append(measured(spins))
    base = statistics.median(times["idle"]["default"])
    report = {
        "processors": os.cpu_count(),
        "rounds": args.rounds,
        "versions": library_versions(),
        "step over the default's on the idle machine": {
            state: {spins: round(statistics.median(own) / base, 2) for spins, own in found.items()}
            for state, found in times.items()
        },
    }
    print(json.dumps(report, indent=1))
    if args.output:
        args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
