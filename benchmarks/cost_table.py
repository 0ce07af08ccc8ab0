"""The cost table of Compacter (arXiv:2106.04647v2, Table 3), method by method within a budget of seconds.

    python benchmarks/cost_table.py --backbone t5-base --precision bf16 --budget 45 --output cost.json   # on a GPU

The same measurement as `hyperadapters cost` (whole steps with AdamW; fixed memory and memory for each example are the
line through the peaks of several batches), in the order given, and written after every method; the first round measures
all, further ones take turns as long as the budget lasts.
"""

import argparse
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rounds import Budget, add_budget, card, write_report

import hyperadapters as ha
from hyperadapters._utils import library_versions
from hyperadapters.backbones import default_device
from hyperadapters.papers import (
    MethodCost,
    measure_costs,
    median_point,
    random_backbone,
    relative_to_full,
    split_by_fit,
)

FIRST = ("full", "compacter++", "compacter", "houlsby", "intrinsic-said", "bitfit", "prompt-r", "phm", "pfeiffer")
"""What Table 3 is about comes first, for the case that seconds run out."""


def ordered(names: str) -> dict[str, ha.Method]:
    """The methods with these names, or all, the most wanted first."""
    wanted = list(ha.METHODS) if names == "all" else names.split(",")
    return {name: ha.method_named(name) for name in sorted(wanted, key=lambda n: (n not in FIRST, wanted.index(n)))}


def joined(rounds: list[MethodCost]) -> MethodCost:
    """The medians over rounds of one method's points."""
    points = zip(*(cost.points for cost in rounds), strict=True)
    first = rounds[0]
    return MethodCost(first.method, first.trained, first.length, tuple(median_point(one) for one in points))


def row(cost: MethodCost, full: MethodCost | None) -> dict[str, Any]:
    """One line of the table."""
    fixed, slope = cost.line
    return {
        **asdict(cost),
        "seconds": cost.seconds,
        "fixed_bytes": fixed,
        "bytes_per_example": slope,
        "saved_bytes_per_example": cost.saved_per_row,
        "tokens_per_second": cost.tokens_a_second,
        "against_full": asdict(relative_to_full(cost, full)),
    }


def measure(args: argparse.Namespace, device: torch.device, report: dict[str, Any], budget: Budget) -> None:
    """Measure the methods in turn, a round at least where the budget lets them, and write what is known after each."""
    methods, report["left_out"] = split_by_fit(args.backbone, ordered(args.methods))
    backbone = random_backbone(args.backbone, device)
    batches = [int(size) for size in args.batches.split(",")]
    how = {"length": args.length, "precision": args.precision, "rounds": 1, "quiet": True}
    found: dict[str, list[MethodCost]] = {name: [] for name in methods}
    took: dict[str, float] = {}
    for _ in range(args.rounds):
        for name, method in methods.items():
            if found["full" if "full" in found else name] and budget.left() < took.get(
                name, statistics.mean(took.values())
            ):
                return
            start = time.monotonic()
            found[name] += measure_costs(backbone, {name: method}, batches, **how)
            took[name] = time.monotonic() - start
            known = {name: joined(rounds) for name, rounds in found.items() if rounds}
            report["methods"] = [row(cost, known.get("full")) for cost in known.values()]
            report["rounds"] = {name: len(rounds) for name, rounds in found.items()}
            write_report(args.output, report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="t5-base", help="whose shape to take")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--batches", default="8,16,32")
    parser.add_argument("--length", type=int, default=128, help="tokens of every source")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    add_budget(parser)
    args = parser.parse_args()
    device = default_device()
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    report: dict[str, Any] = {"settings": settings, "device": card(device), "versions": library_versions()}
    measure(args, device, report, Budget(args.budget))
    for cost in report["methods"]:
        print(
            cost["method"], round(1e3 * cost["seconds"], 1), "ms", round(cost["bytes_per_example"] / 1e6, 1), "MB a row"
        )


if __name__ == "__main__":
    main()
