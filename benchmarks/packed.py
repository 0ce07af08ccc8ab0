"""A sweep of rates and seeds on a few rows: trained together, and one after the other, taking turns.

    OMP_NUM_THREADS=1 python benchmarks/packed.py --data DATA --output results/packed.json
    python benchmarks/packed.py --shapes embedded,t5-base --precision bf16 --budget 90 --output packed.json   # on a GPU

Both sides train the same runs of Compacter++ with the same code (`hyperadapters.packed`, `hyperadapters.train`), with
evaluations of every epoch, on one backbone. In each round the packed side makes one step of all runs, then the other
side one step of each run. Loading, tests and files are left out. On a CPU the figure is processor time, which other
programs on the machine hardly touch; on a GPU it is the clock's. `ratio` is the median over whole epochs, the first
left out where there are more; `difference` is the largest between the weights that the two sides end with.

The rows are pairs of MRPC from --data; without it, pairs of random words as long as MRPC's, for which nothing need be
there. Any shape but `embedded` is a backbone of those dimensions with random weights.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rounds import Budget, add_budget, card, seconds_of, write_report
from torch import nn

import hyperadapters as ha
from hyperadapters._utils import library_versions
from hyperadapters.backbones import default_device
from hyperadapters.papers import random_backbone
from hyperadapters.runs import load_task
from hyperadapters.sweeps import Clock, Costs, Member, Pack, free_memory, stack_members, start_member

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SEEDS = (42, 112, 1234, 1111, 2222)
EMBEDDED = "embedded"
WORDS = """
about after again all also an and any as at back be because but by can come could day do even find first for from get
give go good have he her here him his how if in into it just know like look make man many me more my new no not now of
on one only or other our out over people say see she so some take tell than that the their them then there these they
thing think this those time to two up use very want way we well what when which who will with work would year you your
""".split()
SHORTEST, LONGEST = 10, 32
"""Words of one random text, evenly drawn: a pair has about 45 tokens, as one of MRPC's."""


def random_task(folder: Path, rows: dict[str, int]) -> ha.FilesTask:
    """Write pairs of random words with random labels, so many a split, and return the task that reads them."""
    generator = random.Random(0)

    def text() -> str:
        return " ".join(generator.choices(WORDS, k=generator.randint(SHORTEST, LONGEST)))

    for split, number in rows.items():
        lines = [{"one": text(), "other": text(), "same": str(i % 2)} for i in range(number)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    paths = {split: str(folder / f"{split}.jsonl") for split in rows}
    return ha.FilesTask(**paths, text=("one", "other"), answer="same", answers="label")


def experiments(args: argparse.Namespace, task: ha.NamedTask | ha.FilesTask) -> list[ha.Experiment]:
    """Every rate with every seed."""
    base = ha.Experiment(
        method=ha.METHODS["compacter++"],
        task=task,
        training=ha.Training(lr=1.0, epochs=args.epochs, batch_size=args.batch, precision=args.precision),
        text=ha.Text(train_rows=args.rows, evaluation_rows=args.evaluation_rows),
    )
    pairs = product(RATES[: args.rates], SEEDS[: args.seeds])
    return [replace(base, training=replace(base.training, lr=lr, seed=seed)) for lr, seed in pairs]


def backbone_of(shape: str, device: torch.device) -> tuple[nn.Module, object]:
    """The embedded backbone, or random weights of another shape, and the embedded one's tokenizer."""
    backbone, tokenizer = ha.load_backbone(device=device)
    if shape != EMBEDDED:
        backbone = random_backbone(shape, device)
        backbone.config.decoder_start_token_id = 0
    return backbone, tokenizer


@dataclass
class Sides:
    """The same runs twice: in one pack, and each by itself."""

    together: list[Member]
    alone: list[Member]
    pack: Pack
    device: torch.device

    def rounds(self) -> Iterator[tuple[int, float, float]]:
        """Make one step of every run on both sides; yields the epoch, and the seconds of either side."""
        going = list(self.together)
        while going:
            epoch, now = going[0].trainer.state.epoch, []
            self.pack.stack.use()
            together = seconds_of(lambda now=now, going=going: now.extend(self.pack.advance(going)), self.device)
            self.pack.stack.rest()
            alone = sum(timed_alone(member, self.device) for member in self.alone)
            yield epoch, together, alone
            going = now

    def difference(self) -> float:
        """The largest difference of a weight between the two sides."""
        pairs = zip(self.together, self.alone, strict=True)
        return max(
            (tensor - other.trainer.trained[name]).abs().max().item()
            for one, other in pairs
            for name, tensor in one.trainer.trained.items()
        )


def sides_of(runs: Sequence[ha.Experiment], shape: str, device: torch.device) -> Sides:
    """Begin all runs, on both sides."""
    backbone, tokenizer = backbone_of(shape, device)
    of_seed = {e.training.seed: load_task(e, tokenizer, backbone) for e in runs}
    together, alone = (
        [start_member(i, e, None, backbone, of_seed[e.training.seed], Clock()) for i, e in enumerate(runs)]
        for _ in range(2)
    )
    stack = stack_members(backbone, runs[0].method, together)
    kept = Costs().of(together[0]).saved_activations
    return Sides(together, alone, Pack(together, stack, max(1, free_memory(device) // (2 * kept)), Clock()), device)


def measure(sides: Sides, budget: Budget) -> dict[str, Any]:
    """Rounds of both sides until the runs' or the budget's end; the figures of whole epochs."""
    seconds: dict[int, list[tuple[float, float]]] = {}
    longest = 0.0
    for epoch, together, alone in sides.rounds():
        seconds.setdefault(epoch, []).append((together, alone))
        longest = max(longest, together + alone)
        if budget.left() < longest:
            break
    whole = max(len(rounds) for rounds in seconds.values())
    epochs = [rounds for rounds in seconds.values() if len(rounds) == whole]
    sums = [tuple(map(sum, zip(*rounds, strict=True))) for rounds in epochs[1:] or epochs]
    together, alone = (statistics.median(column) for column in zip(*sums, strict=True))
    return {
        "runs": len(sides.together),
        "epochs": len(sums),
        "rounds an epoch": whole,
        "seconds an epoch": {"together": together, "alone": alone},
        "ratio": round(statistics.median(alone / together for together, alone in sums), 3),
        "difference": sides.difference(),
        "passes_of": sides.pack.most,
    }


def timed_alone(member: Member, device: torch.device) -> float:
    """Seconds of one step of a run by itself; putting its Delta in use, which a run does once, is not among them."""
    member.trainer.delta.use()
    seconds = seconds_of(lambda: step_alone(member), device)
    member.trainer.delta.detach()
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds the GLUE files; default: random words")
    parser.add_argument("--shapes", default=EMBEDDED, help="the embedded T5, or T5 sizes whose dimensions to take")
    parser.add_argument("--rates", type=int, default=5, choices=range(1, 6))
    parser.add_argument("--seeds", type=int, default=5, choices=range(1, 6))
    parser.add_argument("--rows", type=int, default=100, help="training rows, drawn by the seed")
    parser.add_argument("--evaluation-rows", type=int, default=204)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--output", type=Path, required=True)
    add_budget(parser)
    args = parser.parse_args()
    device, budget, shapes = default_device(), Budget(args.budget), args.shapes.split(",")
    report: dict[str, Any] = {
        "shapes": {},
        "settings": {key: str(value) for key, value in vars(args).items() if key not in ("data", "output")},
        "rows": "MRPC" if args.data else f"pairs of {SHORTEST} to {LONGEST} random words",
        "device": card(device),
        "threads": torch.get_num_threads(),
        "versions": library_versions(),
    }
    with tempfile.TemporaryDirectory() as folder:
        task = ha.NamedTask(name="glue/mrpc", data=str(args.data)) if args.data else None
        written = {"train": args.rows, "validation": args.evaluation_rows, "test": args.evaluation_rows}
        runs = experiments(args, task or random_task(Path(folder), written))
        report["training"] = asdict(runs[0].training)
        for number, shape in enumerate(shapes):
            found = measure(sides_of(runs, shape, device), budget.share(1 / (len(shapes) - number)))
            report["shapes"][shape] = found
            write_report(args.output, report)
            print(shape, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
