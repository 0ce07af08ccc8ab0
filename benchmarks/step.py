"""What a training step costs over the floor: forward and activation gradients of the frozen backbone.

    python benchmarks/step.py --methods compacter,compacter++,houlsby --peft --adapters --output results/step.json

A fresh T5 of the given size (weights decide nothing here), gradients taken, no optimizer. Floor and peers are the
backbone as transformers makes it; ours has what `load_backbone` does to it (`combine_masks`, and with --dropout the
cheap masks). Figures that do not depend on the machine: aten operations forward and backward (views not counted), and
the bytes that autograd keeps for the backward pass (distinct storages, parameters left out). Peak memory is what the
process grew by in one step. Time is the process's own processor time on one thread, all variants in turn; a figure is
the median over rounds of the ratio to the floor in the same round. Dropout is off; with --dropout our methods and the
peers train with it, and floor, norms and full fine-tuning stay as the measure without.

--adapters makes a virtual environment under build/ with the adapters library, which wants an older transformers, and
measures it there in turn with the rest, beside a floor of its own. Where no package index is, --adapters-folder names
one into which it was installed (pip install --target).

--device cuda measures on a GPU, wall-clock time until it is done. With --precision bfloat16 everything is held in it,
the backbone and what trains, ours and the peers'. --compile adds floor and methods through torch.compile, their times
over the compiled floor: each in a process of its own, where all are compiled at the same time, after everything else
has been measured and written. --budget ends the rounds in time, and leaves out what is not compiled by then.
"""

import argparse
import copy
import statistics
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from compiled_step import HELD
from gauge import Batch, Gauge, Here, Variant, fresh_t5, gradients_from_embeddings, make_batch
from rounds import Budget, add_budget, card, in_rounds, write_report
from torch import nn
from transformers import PretrainedConfig
from workers import There, Worker, counted

import hyperadapters as ha
from hyperadapters._utils import library_versions
from hyperadapters.backbones import combine_masks, read_structure, shape_config

FOLDER = Path(__file__).parent
PEER = "adapters==1.3.0"
SIZES = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads", "dropout_rate")
EAGER = 0.4
"""How much of the budget goes to what is not compiled, where some is."""
ROUNDS_AT_THE_END = 15
"""Seconds of the budget that are kept for the rounds of what was compiled."""


def variants(
    backbone: nn.Module, methods: list[str], precision: str, *, dropout: bool, with_peft: bool
) -> dict[str, Variant]:
    """Everything of this process to measure, by name; all of ours share one backbone, and so do floor and norms."""
    plain = copy.deepcopy(backbone)
    combine_masks(backbone)
    deltas = {
        name: ha.attach(backbone, ha.method_named(name), name=name.replace(".", "-"), precision=HELD[precision])
        for name in methods
    }
    for delta in deltas.values():
        delta.rest()
    backbone.train(dropout)
    ha.set_fast_dropout(backbone, dropout)

    @contextmanager
    def floor(model: nn.Module) -> Iterator[nn.Module]:
        """Nothing trains; gradients reach the embeddings' output and stop there."""
        handles = gradients_from_embeddings(model)
        yield model
        for handle in handles:
            handle.remove()

    @contextmanager
    def trained(model: nn.Module, parts: list[nn.Module]) -> Iterator[nn.Module]:
        """These of the backbone's modules train."""
        for part in parts:
            part.requires_grad_(True)
        yield model
        for part in parts:
            part.requires_grad_(False)

    @contextmanager
    def ours(name: str) -> Iterator[nn.Module]:
        deltas[name].use()
        yield backbone
        deltas[name].rest()

    found: dict[str, Variant] = {
        "floor": partial(floor, plain),
        "norms alone": partial(trained, plain, [plain.get_submodule(path) for path in read_structure(plain).norms]),
        "full fine-tuning": partial(trained, plain, [plain]),
        "floor, ours": partial(floor, backbone),
        **{name: partial(ours, name) for name in methods},
    }
    if with_peft:
        lora = peft_lora(plain).train(dropout)

        @contextmanager
        def peft() -> Iterator[nn.Module]:
            yield lora

        found["peft LoRA r=8 (q, v)"] = peft
    return found


def peft_lora(backbone: nn.Module) -> nn.Module:
    """LoRA of the peft library on a copy of the backbone, held in the backbone's type."""
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 (needed with --peft alone)

    config = LoraConfig(task_type="SEQ_2_SEQ_LM", r=8, target_modules=["q", "v"])
    return get_peft_model(copy.deepcopy(backbone), config, autocast_adapter_dtype=False)


def environment(folder: Path) -> Path:
    """The python of a virtual environment with the adapters library, made if it is not there."""
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        print(f"making {folder} with {PEER} …", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        wanted = [f"torch=={torch.__version__.split('+')[0]}", PEER, "lazy_loader"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        (folder / "installed").touch()
    return python


def measure(gauges: Mapping[str, Gauge], rounds: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Counts of everything, and times over the floor of the same library, itself compiled or not."""
    found: dict[str, dict[str, Any]] = {name: dict(gauge.counts()) for name, gauge in gauges.items()}
    times = in_rounds({name: gauge.seconds for name, gauge in gauges.items()}, rounds, budget)
    for name, values in found.items():
        own = floor_of(name)
        if "forward" in values:
            least = found[own]["forward"] + found[own]["backward"]
            values["operations_over_floor"] = round((values["forward"] + values["backward"]) / least, 3)
        if times[name]:
            values["seconds"] = statistics.median(times[name])
            values["rounds"] = len(times[name])
        for key, floor in (("time_over_floor", own), ("time_over_first_floor", "floor")):
            if times[name] and floor in times:
                values[key] = round(median_ratio(times[name], times[floor]), 3)
    return found


def median_ratio(mine: list[float], theirs: list[float]) -> float:
    """The median over rounds of the ratio in the same round."""
    return statistics.median(one / other for one, other in zip(mine, theirs, strict=True))


def floor_of(name: str) -> str:
    """The floor that a variant is compared with."""
    return f"{name.split(maxsplit=1)[0]} floor" if name.startswith(("adapters ", "compiled ")) else "floor"


def eager_gauges(args: argparse.Namespace, config: PretrainedConfig, batch: Batch) -> dict[str, Gauge]:
    """Every gauge by name that is not compiled, the peer's with its library's name in front."""
    backbone = fresh_t5(config, args.device, args.precision)
    methods = args.methods.split(",")
    mine = variants(backbone, methods, args.precision, dropout=args.dropout, with_peft=args.peft)
    gauges: dict[str, Gauge] = {name: Here(variant, batch) for name, variant in mine.items()}
    if args.adapters or args.adapters_folder:
        gauges |= peer_gauges(args, config, methods)
    return gauges


def peer_gauges(args: argparse.Namespace, config: PretrainedConfig, methods: list[str]) -> dict[str, Gauge]:
    """The adapters library in a process of its own, in an environment made for it or with its folder before others."""
    bottlenecks = {name: ha.METHODS[name].bottleneck for name in methods if name in ("compacter", "compacter++")}
    setting = {
        "backbone": {key: getattr(config, key) for key in SIZES},
        "methods": bottlenecks,
        "dropout": args.dropout,
        "precision": args.precision,
        "batch": {key: getattr(args, key) for key in ("rows", "source", "target", "device")},
    }
    folder = args.adapters_folder
    python = None if folder else environment(FOLDER.parent / "build" / "adapters-venv")
    peer = Worker("adapters_peer.py", setting, python=python, packages=folder)
    args.adapters_versions = peer.hear()
    return {f"adapters {name}": There(peer, name) for name in ("floor", *bottlenecks)}


def compiled_gauges(args: argparse.Namespace) -> dict[str, There]:
    """The floor and our methods through torch.compile, each in a process of its own that begins to make it."""
    setting = {"backbone": args.backbone, "precision": args.precision, "backend": args.backend}
    setting |= {"batch": {key: getattr(args, key) for key in ("rows", "source", "target", "device")}}
    names = ["floor", *args.methods.split(",")]
    return {f"compiled {name}": There(Worker("compiled_step.py", {**setting, "method": name}), name) for name in names}


def measure_compiled(args: argparse.Namespace, floor: Gauge, budget: Budget) -> tuple[dict[str, Any], dict[str, str]]:
    """What compiled variants cost beside the eager floor, and why some could not be measured."""
    ready, failed = counted(compiled_gauges(args), budget.left() - ROUNDS_AT_THE_END)
    found = measure({"floor": floor, **ready}, args.rounds, budget) if ready else {}
    for gauge in ready.values():
        gauge.worker.end()
    return {name: values for name, values in found.items() if name != "floor"}, failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="t5-small")
    parser.add_argument("--methods", default="compacter,compacter++")
    parser.add_argument("--peft", action="store_true", help="LoRA of the peft library beside ours")
    parser.add_argument("--adapters", action="store_true", help="the adapters library beside ours")
    parser.add_argument(
        "--adapters-folder", type=Path, help="where the adapters library is installed, if not in a venv"
    )
    parser.add_argument("--compile", action="store_true", help="floor and ours through torch.compile too")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the backbone")
    parser.add_argument("--dropout", action="store_true", help="train with the backbone's dropout")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--source", type=int, default=32)
    parser.add_argument("--target", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds; 0: counts alone")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    parser.add_argument("--output", type=Path, required=True)
    add_budget(parser)
    args = parser.parse_args()
    if args.device == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(0)
    budget, config = Budget(args.budget), shape_config(args.backbone)
    gauges = eager_gauges(args, config, make_batch(args.rows, args.source, args.target, args.device))
    report: dict[str, Any] = {
        "variants": measure(gauges, args.rounds, budget.share(EAGER) if args.compile else budget),
        "settings": {
            k: v for k, v in vars(args).items() if k not in ("output", "adapters_folder", "adapters_versions")
        },
        "device": card(torch.device(args.device)),
        "versions": library_versions(),
    }
    if args.adapters or args.adapters_folder:
        report["adapters_versions"] = args.adapters_versions
    write_report(args.output, report)
    if args.compile:
        compiled, report["failed"] = measure_compiled(args, gauges["floor"], budget)
        report["variants"] |= compiled
        write_report(args.output, report)
    for name, values in report["variants"].items():
        print(f"{name:22s}", values)


if __name__ == "__main__":
    sys.exit(main())
