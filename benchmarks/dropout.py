"""What the backbone's dropout adds to a training step on a CPU: PyTorch's masks and ours, one after the other.

    python benchmarks/dropout.py --output results/dropout.json

A fresh T5 of T5-small's dimensions with Compacter++ (weights decide nothing here), one thread. The time is the
process's own processor time, which other programs on the machine hardly touch; a figure is the median over rounds of
the ratio to the step without dropout in the same round.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from transformers import T5ForConditionalGeneration

import hyperadapters as ha
from hyperadapters._utils import library_versions
from hyperadapters.backbones import shape_config

VARIANTS = ("off", "torch", "fast")


def seconds(backbone: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[float, float]:
    """Processor time of forward and backward."""
    start = time.process_time()
    loss = backbone(**batch).loss
    middle = time.process_time()
    loss.backward()
    return middle - start, time.process_time() - middle


def measure(rows: int, source: int, target: int, rounds: int) -> dict[str, dict[str, float]]:
    """Forward, backward and step of every variant over those without dropout."""
    torch.manual_seed(0)
    config = shape_config("t5-small")
    config.decoder_start_token_id = 0
    backbone = T5ForConditionalGeneration(config)
    ha.attach(backbone, ha.METHODS["compacter++"])
    batch = {
        "input_ids": torch.randint(3, 32_000, (rows, source)),
        "attention_mask": torch.ones(rows, source, dtype=torch.long),
        "labels": torch.randint(3, 32_000, (rows, target)),
    }
    batch["attention_mask"][::3, source // 2 :] = 0
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    for warm in range(rounds + 1):
        for name in VARIANTS:
            ha.set_fast_dropout(backbone, name == "fast")
            backbone.train(name != "off")
            spent = seconds(backbone, batch)
            if warm:
                found[name].append(spent)
    pairs = {name: list(zip(found[name], found["off"], strict=True)) for name in VARIANTS}
    return {
        name: {
            "forward": round(statistics.median(f / f0 for (f, _), (f0, _) in pairs[name]), 3),
            "backward": round(statistics.median(b / b0 for (_, b), (_, b0) in pairs[name]), 3),
            "step": round(statistics.median((f + b) / (f0 + b0) for (f, b), (f0, b0) in pairs[name]), 3),
        }
        for name in VARIANTS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--source", type=int, default=64)
    parser.add_argument("--target", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(args.rows, args.source, args.target, args.rounds)
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    report = {"over_without_dropout": found, "settings": settings, "dropout": 0.1, "versions": library_versions()}
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
