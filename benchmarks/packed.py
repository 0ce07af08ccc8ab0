"""A sweep of rates and seeds on a few rows of MRPC: trained together, and one after the other, taking turns.

    OMP_NUM_THREADS=1 python benchmarks/packed.py --data DATA --output results/packed.json

Both sides train the same runs of Compacter++ with the same code (`hyperadapters.packed`, `hyperadapters.train`), with
evaluations of every epoch, on one backbone. In each round the packed side makes one step of all runs, then the other
side one step of each run. Loading, tests and files are left out. On a CPU the figure is processor time, which other
programs on the machine hardly touch; on a GPU it is the clock's. `difference` is the largest between the weights that
the two sides end with. `--shape t5-base` takes a backbone of those dimensions with random weights.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import torch
from torch import nn

import hyperadapters as ha
from hyperadapters._utils import library_versions
from hyperadapters.backbones import default_device
from hyperadapters.papers import random_backbone
from hyperadapters.runs import load_task
from hyperadapters.sweeps import Clock, Costs, Member, Pack, free_memory, stack_members, start_member

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SEEDS = (42, 112, 1234, 1111, 2222)


def experiments(args: argparse.Namespace) -> list[ha.Experiment]:
    """Every rate with every seed."""
    base = ha.Experiment(
        method=ha.METHODS["compacter++"],
        task=ha.NamedTask(name="glue/mrpc", data=str(args.data)),
        training=ha.Training(lr=1.0, epochs=args.epochs, batch_size=args.batch, precision=args.precision),
        text=ha.Text(train_rows=args.rows, evaluation_rows=args.evaluation_rows),
    )
    pairs = product(RATES[: args.rates], SEEDS[: args.seeds])
    return [replace(base, training=replace(base.training, lr=lr, seed=seed)) for lr, seed in pairs]


def backbone_of(shape: str, device: torch.device) -> tuple[nn.Module, object]:
    """The embedded backbone, or random weights of another shape, and the embedded one's tokenizer."""
    backbone, tokenizer = ha.load_backbone(device=device)
    if shape:
        backbone = random_backbone(shape, device)
        backbone.config.decoder_start_token_id = 0
    return backbone, tokenizer


def timed_alone(member: Member, device: torch.device) -> float:
    """Seconds of one step of a run by itself; putting its Delta in use, which a run does once, is not among them."""
    member.trainer.delta.use()
    seconds = timed(lambda: step_alone(member), device)
    member.trainer.delta.rest()
    return seconds


def step_alone(member: Member) -> None:
    """One step of a run, if there is one to make, as `fit` makes it."""
    trainer = member.trainer
    rows = trainer.next_rows()
    if rows is None:
        return
    trainer.delta.backbone.train()
    torch.set_rng_state(member.generator.get_state())
    trainer.step(rows)
    member.generator.set_state(torch.get_rng_state())
    if trainer.evaluation_due():
        trainer.record(ha.evaluate(trainer.delta, trainer.data, "validation", trainer.evaluation))


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of the processor, or by the clock where the work is a GPU's."""
    now = time.perf_counter if device.type == "cuda" else time.process_time
    start = now()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return now() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the GLUE files")
    parser.add_argument("--shape", default="", help="T5 size whose dimensions to take; empty: the embedded T5")
    parser.add_argument("--rates", type=int, default=5, choices=range(1, 6))
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 6))
    parser.add_argument("--rows", type=int, default=100, help="training rows, drawn by the seed")
    parser.add_argument("--evaluation-rows", type=int, default=204)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    device = default_device()
    backbone, tokenizer = backbone_of(args.shape, device)
    runs = experiments(args)
    of_seed = {e.training.seed: load_task(e, tokenizer, backbone) for e in runs}
    both = [
        [start_member(i, e, None, backbone, of_seed[e.training.seed], Clock()) for i, e in enumerate(runs)]
        for _ in range(2)
    ]
    together, alone = both
    stack = stack_members(backbone, runs[0].method, together)
    kept = Costs().of(together[0]).saved_activations
    pack = Pack(together, stack, max(1, free_memory(device) // (2 * kept)), Clock())

    seconds: dict[str, list[float]] = {"together": [], "alone": []}
    going = list(together)
    while going:
        now: list[Member] = []
        stack.use()
        seconds["together"].append(timed(lambda now=now, going=going: now.extend(pack.advance(going)), device))
        stack.rest()
        seconds["alone"].append(sum(timed_alone(member, device) for member in alone))
        going = now
    ends = [{i: m.trainer.trained for i, m in enumerate(side)} for side in both]
    pairs = [(tensor, ends[1][i][name]) for i, own in ends[0].items() for name, tensor in own.items()]
    result = {
        "runs": len(runs),
        "settings": {key: str(value) for key, value in vars(args).items() if key not in ("data", "output")},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "ratio": round(sum(seconds["alone"]) / sum(seconds["together"]), 3),
        "difference": max((one - other).abs().max().item() for one, other in pairs),
        "passes_of": pack.most,
        "training": asdict(runs[0].training),
        "versions": library_versions(),
    }
    args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("runs", "ratio", "difference")}))


if __name__ == "__main__":
    main()
