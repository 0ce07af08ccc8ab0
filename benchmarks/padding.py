"""Padded over real source tokens of the batches that training takes, on the official GLUE files.

    python benchmarks/padding.py --data DATA/glue --output results/padding.json

Beside it batches at random, padded to their longest row, and everything padded to a fixed 128.
"""

import argparse
import json
from pathlib import Path

import torch

import hyperadapters as ha
from hyperadapters.training import epoch_batches

TASKS = ("cola", "sst2", "mrpc", "rte")


def padding(lengths: list[int], batches: list[list[int]]) -> float:
    """Padded over real tokens, each batch padded to its longest row."""
    return sum(len(rows) * max(lengths[i] for i in rows) for rows in batches) / sum(lengths)


def measure(lengths: list[int], batch_size: int, limit: int) -> dict[str, float]:
    """The three ways, the mean over three epochs for the first."""
    epochs = [epoch_batches(lengths, batch_size, seed=42, epoch=epoch) for epoch in range(3)]
    shuffled = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(42)).tolist()
    at_random = [shuffled[i : i + batch_size] for i in range(0, len(lengths), batch_size)]
    return {
        "by_length": round(sum(padding(lengths, batches) for batches in epochs) / len(epochs), 4),
        "at_random": round(padding(lengths, at_random), 4),
        "fixed_128": round(len(lengths) * limit / sum(lengths), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    _, tokenizer = ha.load_backbone()
    text = ha.Text()
    found = {}
    for task in TASKS:
        rows = ha.load_data(f"glue/{task}", tokenizer, args.data, text).splits["train"]
        found[task] = measure([len(row.source) for row in rows], args.batch, text.source_length)
        print(task, found[task], flush=True)
    args.output.write_text(json.dumps({"padded_over_real": found, "batch": args.batch}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
