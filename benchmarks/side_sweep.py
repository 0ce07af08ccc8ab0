"""What a sweep of adapters beside the backbone costs, over one run of Compacter++: rates and seeds on kept states.

    python benchmarks/side_sweep.py --backbone FOLDER --data FOLDER --output results/side-sweep.json

The backbone is an encoder, the data train.jsonl and validation.jsonl with the columns `text` and `label`. Every run
trains for as many steps on the same rows, with its evaluations, its measuring and its result. The time is the process's
own processor time, from the plan to the results; backbone and imports are loaded before.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rounds import write_report

import hyperadapters as ha
from hyperadapters._utils import library_versions
from hyperadapters.sweeps.tuning import _in_this_process

RATES, SEEDS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), (1, 2, 3, 4, 5)


def plan(args: argparse.Namespace, method: str, lr: float, seed: int, reuse: Any) -> ha.Experiment:
    """Return one run."""
    files = {split: str(args.data / f"{split}.jsonl") for split in ("train", "validation")}
    return ha.Experiment(
        method=ha.method_named(method),
        backbone=str(args.backbone),
        task=ha.FilesTask(**files, text=("text",), answer="label", answers="label"),
        text=ha.Text(evaluation_rows=200, source_length=64),
        training=ha.Training(
            lr=lr, seed=seed, steps=args.steps, batch_size=16, evaluate_steps=args.steps // 5, reuse=reuse
        ),
    )


def seconds(experiments: list[ha.Experiment], pack: int) -> float:
    """Return the processor time of a sweep."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        found = ha.sweep(experiments, Path(folder) / "out", executor=_in_this_process, pack=pack, quiet=True)
        spent = time.process_time() - start
    assert len(found.results) == len(experiments), found.failed
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=375)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    one = plan(args, "compacter++", 5e-3, 1, "none")
    seconds([replace(one, training=replace(one.training, steps=5, evaluate_steps=5))], 0)  # imports
    compacter = seconds([one], 0)
    many = [plan(args, "side", lr, seed, "fp32") for lr in RATES for seed in SEEDS]
    times = {
        "one run of compacter++": compacter,
        "one run of side": seconds(many[:1], 0),
        f"{len(many)} runs of side, packed": seconds(many, 1),
    }
    report = {
        "over_compacter++": {name: round(spent / compacter, 3) for name, spent in times.items()},
        "seconds": {name: round(spent, 1) for name, spent in times.items()},
        "settings": {"rows": sum(1 for _ in (args.data / "train.jsonl").open()), "steps": args.steps},
        "versions": library_versions(),
    }
    print(report["over_compacter++"])
    write_report(args.output, report)


if __name__ == "__main__":
    main()
