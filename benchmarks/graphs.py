"""Seconds that torch.compile takes for a graph, and what a training pass gains by it: as it is, and as a CUDA graph.

    python benchmarks/graphs.py --shapes embedded,t5-base --budget 55 --output graphs.json   # on a GPU

Passes forward and backward of Compacter++ in training mode, as `fit` makes them (`CompiledModel`, random tokens of one
length, on a GPU under bfloat16's autocast). Seconds of a graph are those of the first pass of its length, less a pass
as it is later; the first graph of all pays for starting the compiler too, so the last length of a shape tells. The
cache of graphs is empty at the start. `passes` is how many passes make up for the seconds of one graph:
`_WORTH_COMPILING` in `hyperadapters.training.compile_policy`.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rounds import Budget, add_budget, card, in_rounds, seconds_of, write_report
from torch import Tensor, nn

import hyperadapters as ha
from hyperadapters._utils import library_versions
from hyperadapters.backbones import CompiledModel, default_device
from hyperadapters.papers import random_backbone

TARGET = 2


class Passes:
    """Training passes of a Delta on a backbone of its own.

    Args:
        shape: "embedded", or whose dimensions to take.
        how: "eager", "compiled" or "graphs".
        rows: of a batch.
        device: where.
        backend: of torch.compile.
    """

    def __init__(self, shape: str, how: str, rows: int, device: torch.device, backend: str) -> None:
        torch.manual_seed(0)
        backbone = ha.load_backbone(device=device)[0] if shape == "embedded" else random_backbone(shape, device)
        self.delta = ha.attach(backbone.train(), ha.METHODS["compacter++"])
        self.model: nn.Module = backbone
        if how != "eager":
            self.model = CompiledModel(backbone, rows, 0, graphs=how == "graphs")
            self.model.backend = backend
        self.vocabulary, self.rows, self.device = backbone.config.vocab_size, rows, device

    def batch(self, length: int) -> dict[str, Tensor]:
        """Random tokens of one length."""
        tokens = torch.randint(3, self.vocabulary, (self.rows, length + TARGET), device=self.device)
        source = tokens[:, :length]
        return {"input_ids": source, "attention_mask": torch.ones_like(source), "decoder_input_ids": tokens[:, length:]}

    def of(self, length: int) -> Callable[[], float]:
        """What makes one pass of this length and returns its seconds."""
        batch = self.batch(length)

        def one() -> None:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                logits = self.model(**batch).logits
            F.cross_entropy(logits.float().flatten(0, 1), batch["decoder_input_ids"].flatten()).backward()
            for tensor in self.delta.trained().values():
                tensor.grad = None

        return lambda: seconds_of(one, self.device)


def measure(args: argparse.Namespace, shape: str, device: torch.device, keep: Callable[[Any], None]) -> None:
    """Graphs of every length, then rounds at the last; what is known is kept after each part."""
    lengths, budget = [int(length) for length in args.lengths.split(",")], Budget(args.budget)
    make = [shape, args.rows, device, args.backend]
    found: dict[str, Any] = {"lengths": lengths, "graph_seconds": {}, "failed": {}}
    variants = {"eager": Passes(make[0], "eager", *make[1:]).of(lengths[-1])}
    for how in ("compiled", "graphs") if device.type == "cuda" else ("compiled",):
        if found["graph_seconds"] and budget.left() < max(map(max, found["graph_seconds"].values())):
            found["failed"][how] = "no time left"
            continue
        try:
            passes = Passes(make[0], how, *make[1:])
            found["graph_seconds"][how] = [
                graph_seconds(passes.of(length)) for length in (lengths if how == "compiled" else lengths[-1:])
            ]
        except Exception as error:  # whatever the compiler raises: the other parts are measured all the same
            found["failed"][how] = f"{type(error).__name__}: {str(error).strip()[:500]}"
            continue
        variants[how] = passes.of(lengths[-1])
        keep({**found, **rounds_of(variants, args.rounds, budget, found["graph_seconds"])})
    if len(variants) == 1:
        keep(found)


def graph_seconds(one: Callable[[], float]) -> float:
    """Seconds of the first pass beyond those of a later one; passes are few enough to be made as often as it takes."""
    first = one()
    later = min(one() for _ in range(3))
    return round(first - later, 3)


def rounds_of(
    variants: dict[str, Callable[[], float]], rounds: int, budget: Budget, graphs: dict[str, list[float]]
) -> dict[str, Any]:
    """Median seconds of a pass, and how many passes make up for a graph; None where compiling gains nothing."""
    for warm_up in variants.values():
        warm_up()
    seconds = {name: statistics.median(found) for name, found in in_rounds(variants, rounds, budget).items()}
    passes = {}
    for name, spent in graphs.items():
        gained = seconds["eager"] - seconds[name]
        passes[name] = round(spent[-1] / gained) if gained > 0 else None
    return {"pass_seconds": seconds, "passes": passes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="embedded,t5-base", help="`embedded`, or whose dimensions to take")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--lengths", default="48,64", help="tokens of sources, each a graph")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--output", type=Path, required=True)
    add_budget(parser)
    args = parser.parse_args()
    device = default_device()
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    report: dict[str, Any] = {
        "shapes": {},
        "settings": settings,
        "device": card(device),
        "versions": library_versions(),
    }
    with tempfile.TemporaryDirectory() as fresh, torch._inductor.utils.fresh_inductor_cache():
        os.environ["TRITON_CACHE_DIR"] = fresh
        for shape in args.shapes.split(","):
            if report["shapes"] and Budget(args.budget).left() < 20:
                break

            def keep(found: Any, shape: str = shape) -> None:
                report["shapes"][shape] = found
                write_report(args.output, report)
                print(shape, found, flush=True)

            measure(args, shape, device, keep)


if __name__ == "__main__":
    main()
