"""Processor seconds until a command that computes nothing has ended, against `python -c "import torch"`.

    python benchmarks/startup.py --rounds 5 --output results/startup.json

Each command runs in a process of its own, all of them in turn within a round, so that a busy machine slows them alike.
Seconds are the process's own, user and system together, medians over rounds; ratios are of a round's seconds to those
that the round's import of torch took, and their medians. The first round, which fills the disk's cache, is not counted.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import hyperadapters as ha
from hyperadapters._utils import library_versions

TORCH = "import torch"

COMMANDS = {
    "--help": ["--help"],
    "train --help": ["train", "--help"],
    "methods": ["methods"],
    "tasks": ["tasks"],
    "info FOLDER": ["info", "{adapter}"],
    "a wrong option": ["train", "--methd", "full"],
    "a wrong method": ["train", "--method", "compactor"],
    "a wrong setting": ["train", "--set", "training.lrr=1"],
    "a missing file": ["train", "--train", "no.jsonl", "--validation", "no.jsonl", "--text", "a", "--label", "b"],
    "a missing adapter": ["evaluate", "missing"],
}


def seconds_of(command: list[str]) -> float:
    """Return the processor seconds of a process, user and system together."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measured(rounds: int, adapter: str) -> dict[str, dict[str, float]]:
    """Return the median seconds of every command, and the median ratio to those of importing torch.

    Args:
        rounds: how often each command runs, besides once to begin with.
        adapter: the folder of a saved adapter.
    """
    commands = {TORCH: [sys.executable, "-c", TORCH]}
    for name, words in COMMANDS.items():
        commands[name] = [sys.executable, "-m", "hyperadapters.cli", *(word.format(adapter=adapter) for word in words)]
    found = [{name: seconds_of(command) for name, command in commands.items()} for _ in range(rounds + 1)][1:]
    return {
        name: {
            "seconds": round(statistics.median(turn[name] for turn in found), 3),
            "of_torch": round(statistics.median(turn[name] / turn[TORCH] for turn in found), 3),
        }
        for name in commands
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("out/startup.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        backbone, _ = ha.load_backbone()
        ha.attach(backbone, ha.METHODS["compacter++"]).save(folder)
        found = measured(options.rounds, folder)
    for name, numbers in found.items():
        print(f"{name:20} {numbers['seconds']:6.2f} s  {numbers['of_torch']:5.2f} × import torch")
    value = {"rounds": options.rounds, "cpus": os.cpu_count(), "versions": library_versions(), "commands": found}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
