"""What a training step costs where the backbone's lower part is frozen, over the floor: forward and all gradients.

    python benchmarks/below_floor.py --output results/below-floor.json

Fresh backbones (weights decide nothing here): an encoder of MiniLM-L6's dimensions with a head of two classes, and
T5-small. The floor is the backbone alone, with gradients of the embeddings' output. `above`: norms="above", so that no
gradient enters the layers below the adapters; `side`: a ladder of width 64 beside the backbone; `kept`: outputs of
frozen layers are read from a store (training.reuse). `tasks`: tasks beside the encoder that answer the same texts, by
the ladder's width, in forward passes of the backbone.

A step is forward and backward without optimizer and without dropout; its time is the process's own processor time on
one thread, all variants in turn; a figure is the median over rounds of the ratio to the floor in the same round. Saved
bytes are what autograd keeps for the backward pass, parameters left out.
"""

import argparse
import json
import operator
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gauge import fresh_t5, leaf
from rounds import Budget, add_budget, in_rounds, seconds_of, write_report
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

import hyperadapters as ha
from hyperadapters._utils import library_versions, saved_tensors
from hyperadapters.backbones import combine_masks, shape_config
from hyperadapters.training import ENCODINGS
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.reuse import ReusedStates

CPU = torch.device("cpu")
Step = Callable[[], None]
Variant = Callable[[], AbstractContextManager[Step]]


def minilm() -> nn.Module:
    """Return an encoder of MiniLM-L6's dimensions."""
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    return BertForSequenceClassification(BertConfig(**sizes, num_labels=2)).eval().requires_grad_(False)


def t5_small() -> nn.Module:
    """Return a T5 of T5-small's dimensions."""
    return fresh_t5(shape_config("t5-small"), "cpu", "float32")


def rows_for(kind: str, count: int, source: int, target: int) -> list[Encoded]:
    """Return rows of random tokens; the last is half as long."""
    lengths = [source] * (count - 1) + [source // 2]
    answer = [0] if kind == "encoder" else torch.randint(3, 32_000, (target,)).tolist()
    return [Encoded(torch.randint(3, 30_000, (length,)).tolist(), answer) for length in lengths]


def floor(backbone: nn.Module, kind: str, rows: list[Encoded]) -> Variant:
    """Nothing trains; gradients go to the embeddings' output and stop there."""

    @contextmanager
    def variant() -> Iterator[Step]:
        words = backbone.get_input_embeddings().weight
        found = [m for m in backbone.modules() if isinstance(m, nn.Embedding) and m.weight is words]
        handles = [module.register_forward_hook(leaf) for module in found]
        yield lambda: ENCODINGS[kind].losses(backbone, backbone, rows, 0).sum().backward()
        for handle in handles:
            handle.remove()

    return variant


def forward(backbone: nn.Module, kind: str, rows: list[Encoded]) -> Variant:
    """The backbone answers, without gradients."""

    def answer() -> None:
        with torch.no_grad():
            ENCODINGS[kind].losses(backbone, backbone, rows, 0)

    @contextmanager
    def variant() -> Iterator[Step]:
        yield answer

    return variant


def trained(delta: ha.Delta, kind: str, rows: list[Encoded], *, kept: bool) -> Variant:
    """A Delta trains, with or without states that were kept."""
    with_states: AbstractContextManager[Any] = nullcontext()
    if kept:
        delta.use()
        states = ReusedStates(delta, 0, dtype=torch.float32, root=None)
        states.prepare(rows)
        states.compute(rows)
        delta.rest()
        with_states = states

    @contextmanager
    def variant() -> Iterator[Step]:
        delta.use()
        with with_states:
            yield lambda: ENCODINGS[kind].losses(delta.backbone, delta.backbone, rows, 0).sum().backward()
        for tensor in delta.trained().values():
            tensor.grad = None
        delta.rest()

    return variant


def variants(backbone: nn.Module, kind: str, rows: list[Encoded]) -> dict[str, Variant]:
    """Return everything that is measured on a backbone, by name."""
    combine_masks(backbone)
    half, houlsby, side = 3, ha.METHODS["houlsby"], ha.METHODS["side"]
    methods: dict[str, tuple[ha.Method, bool]] = {
        "compacter++": (ha.METHODS["compacter++"], False),
        "houlsby": (houlsby, False),
        "houlsby, top half": (houlsby.changed({"first_layer": half}), False),
        "houlsby, top half, above": (houlsby.changed({"first_layer": half, "norms": "above"}), False),
        "houlsby, top half, above, kept": (houlsby.changed({"first_layer": half, "norms": "above"}), True),
    }
    if kind == "encoder-decoder":
        alone = houlsby.changed({"stacks": ["decoder"], "norms": "above"})
        methods |= {"houlsby, decoder, above": (alone, False), "houlsby, decoder, above, kept": (alone, True)}
    methods |= {"side": (side, False), "side, kept": (side, True)}
    found = {"forward alone": forward(backbone, kind, rows), "floor": floor(backbone, kind, rows)}
    for number, (name, (method, kept)) in enumerate(methods.items()):
        delta = ha.attach(backbone, method, name=f"delta{number}")
        delta.rest()
        found[name] = trained(delta, kind, rows, kept=kept)
    return found


def every_task(backbone: nn.Module, rows: list[Encoded], tasks: int, width: int) -> Variant:
    """Many tasks beside an encoder answer the same rows; nothing of them is known before."""
    names = [str(number) for number in range(tasks)]
    delta = ha.attach(backbone, ha.SideAdapter(bottleneck=width), name=f"tasks{tasks}", tasks=names, outputs=2)
    states = ReusedStates(delta, 0, dtype=torch.float32, root=None, using=lambda rows: delta.rows(["0"] * len(rows)))
    states.prepare(rows)
    delta.rest()

    def answer() -> None:
        states.share(rows)
        with states, torch.no_grad():
            for name in names:
                with delta.rows(name):
                    backbone(**ENCODINGS["encoder"].inputs(backbone, rows, 0))

    @contextmanager
    def variant() -> Iterator[Step]:
        delta.use()
        yield answer
        delta.rest()

    return variant


def tasks_report(rows: list[Encoded], rounds: int, budget: Budget, width: int) -> dict[str, float]:
    """Return what the answers of some tasks to the same texts cost, in forward passes of the backbone."""
    backbone = minilm()
    combine_masks(backbone)
    every = {"forward": forward(backbone, "encoder", rows)}
    every |= {f"{count} tasks": every_task(backbone, rows, count, width) for count in (1, 6, 64)}
    times = in_rounds({name: partial(measured, each) for name, each in every.items()}, rounds, budget)
    return {
        name: round(statistics.median(map(operator.truediv, own, times["forward"])), 3) for name, own in times.items()
    }


def measured(variant: Variant) -> float:
    """Return the processor time of a variant's step."""
    with variant() as step:
        return seconds_of(step, CPU)


def saved_bytes(backbone: nn.Module, variant: Variant) -> int:
    """Return the bytes that autograd keeps in a variant's step."""
    with variant() as step, saved_tensors(backbone) as saved:
        step()
    return sum(saved.values())


def report_of(backbone: nn.Module, kind: str, rows: list[Encoded], rounds: int, budget: Budget) -> dict[str, Any]:
    """Return every variant's time over the floor's, and its saved bytes."""
    every = variants(backbone, kind, rows)
    saved = {name: saved_bytes(backbone, variant) for name, variant in every.items()}
    times = in_rounds({name: partial(measured, each) for name, each in every.items()}, rounds, budget)
    return {
        name: {
            "step": round(
                statistics.median(own / base for own, base in zip(times[name], times["floor"], strict=True)), 3
            ),
            "saved_bytes": saved[name],
            "rounds": len(times[name]),
        }
        for name in every
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--source", type=int, default=64)
    parser.add_argument("--target", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--parts", default="minilm,t5-small,tasks", help="others stay in the output as they are")
    parser.add_argument("--output", type=Path)
    add_budget(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    parts = args.parts.split(",")
    settings = {key: value for key, value in vars(args).items() if key not in ("output", "budget", "parts")}
    known = json.loads(args.output.read_text(encoding="utf-8")) if args.output and args.output.is_file() else {}
    report: dict[str, Any] = {**known, "settings": settings, "versions": library_versions()}
    backbones: Mapping[str, Callable[[], nn.Module]] = {"minilm": minilm, "t5-small": t5_small}
    for name, make in backbones.items():
        if name not in parts:
            continue
        kind = "encoder" if name == "minilm" else "encoder-decoder"
        rows = rows_for(kind, args.rows, args.source, args.target)
        report[name] = report_of(make(), kind, rows, args.rounds, Budget(args.budget))
        for variant, found in report[name].items():
            print(f"{name}  {variant:35} {found['step']:.2f} of the floor  {found['saved_bytes'] / 1e6:.0f} MB")
        write_report(args.output, report)
    if "tasks" in parts:
        rows = rows_for("encoder", 2 * args.rows, args.source, 0)
        report["tasks"] = {
            str(width): tasks_report(rows, max(1, args.rounds // 3), Budget(args.budget), width)
            for width in (16, 32, 64)
        }
        print(report["tasks"])
        write_report(args.output, report)


if __name__ == "__main__":
    main()
