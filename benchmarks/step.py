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

--device cuda measures on a GPU, wall-clock time until it is done; --compile adds floor and methods through
torch.compile, their times over the compiled floor.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gauge import Batch, FromEmbeddings, Gauge, Here, Variant, gradients_from_embeddings, make_batch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

import hyperadapters as ha
from hyperadapters._utils import library_versions
from hyperadapters.backbones import combine_masks, read_structure, shape_config

FOLDER = Path(__file__).parent
PEER = "adapters==1.3.0"
SIZES = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads", "dropout_rate")


def variants(backbone: nn.Module, methods: list[str], *, dropout: bool, with_peft: bool) -> dict[str, Variant]:
    """Everything of this process to measure, by name; all of ours share one backbone, and so do floor and norms."""
    plain = copy.deepcopy(backbone)
    combine_masks(backbone)
    deltas = {name: ha.attach(backbone, ha.method_named(name), name=name.replace(".", "-")) for name in methods}
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


def compiled_variants(backbone: nn.Module, methods: list[str]) -> dict[str, Variant]:
    """The floor and our methods through torch.compile, each on a backbone of its own: hooks stay, graphs hold."""
    floor = FromEmbeddings(copy.deepcopy(backbone))
    found: dict[str, Variant] = {"compiled floor": partial(nullcontext, floor)}
    for name in methods:
        own = copy.deepcopy(backbone)
        combine_masks(own)
        ha.attach(own, ha.method_named(name), name=name.replace(".", "-"))
        found[f"compiled {name}"] = partial(nullcontext, torch.compile(own))
    return found


def peft_lora(backbone: nn.Module) -> nn.Module:
    """LoRA of the peft library on a copy of the backbone."""
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 (needed with --peft alone)

    return get_peft_model(copy.deepcopy(backbone), LoraConfig(task_type="SEQ_2_SEQ_LM", r=8, target_modules=["q", "v"]))


class Peer:
    """The adapters library in a process of its own, in an environment made for it, or `packages` before all others."""

    def __init__(self, setting: dict[str, Any], packages: Path | None) -> None:
        python = sys.executable if packages else environment(FOLDER.parent / "build" / "adapters-venv")
        folders = [*([packages] if packages else []), FOLDER.parent / "src", FOLDER]
        paths = {"PYTHONPATH": os.pathsep.join(map(str, folders))}
        self.process = subprocess.Popen(
            [python, FOLDER / "adapters_peer.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **paths},
        )
        self.versions = self.ask(setting)

    def ask(self, question: Any) -> Any:
        """One line there, one line back."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("the adapters library's process ended; its error stands above.")
        return json.loads(answer)


class There:
    """A gauge of a model in the peer's process."""

    def __init__(self, peer: Peer, name: str) -> None:
        self.peer, self.name = peer, name

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = self.peer.ask(["counts", self.name])
        return found

    def seconds(self) -> float:
        return float(self.peer.ask(["seconds", self.name]))


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


def measure(gauges: dict[str, Gauge], floors: dict[str, str], rounds: int) -> dict[str, dict[str, Any]]:
    """Counts of everything, and times over the floor of the same library."""
    found: dict[str, dict[str, Any]] = {name: dict(gauge.counts()) for name, gauge in gauges.items()}
    times: dict[str, list[float]] = {name: [] for name in gauges}
    for _ in range(rounds):
        for name, gauge in gauges.items():
            times[name].append(gauge.seconds())
    for name, values in found.items():
        floor = found[floors[name]]
        if "forward" in values:
            least = floor["forward"] + floor["backward"]
            values["operations_over_floor"] = round((values["forward"] + values["backward"]) / least, 3)
        if rounds:
            ratios = [mine / theirs for mine, theirs in zip(times[name], times[floors[name]], strict=True)]
            values["time_over_floor"] = round(statistics.median(ratios), 3)
            first = [mine / theirs for mine, theirs in zip(times[name], times["floor"], strict=True)]
            values["time_over_first_floor"] = round(statistics.median(first), 3)
    return found


def gauges_of(args: argparse.Namespace, config: T5Config, batch: Batch) -> tuple[dict[str, Gauge], Peer | None]:
    """Every gauge by name, the peer's with its library's name in front."""
    backbone = T5ForConditionalGeneration(config).eval().requires_grad_(False)
    backbone.to(args.device, getattr(torch, args.precision))
    methods = args.methods.split(",")
    compiled = compiled_variants(backbone, methods) if args.compile else {}
    mine = variants(backbone, methods, dropout=args.dropout, with_peft=args.peft)
    gauges: dict[str, Gauge] = {name: Here(variant, batch) for name, variant in mine.items()}
    gauges |= {name: Here(variant, batch, compiled=True) for name, variant in compiled.items()}
    if not args.adapters and not args.adapters_folder:
        return gauges, None
    bottlenecks = {name: ha.METHODS[name].bottleneck for name in methods if name in ("compacter", "compacter++")}
    sizes = {key: getattr(config, key) for key in SIZES}
    setting = {"backbone": sizes, "methods": bottlenecks, "dropout": args.dropout, "precision": args.precision}
    setting["batch"] = {key: getattr(args, key) for key in ("rows", "source", "target", "device")}
    peer = Peer(setting, args.adapters_folder)
    gauges |= {f"adapters {name}": There(peer, name) for name in ("floor", *bottlenecks)}
    return gauges, peer


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
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = shape_config(args.backbone)
    config.decoder_start_token_id = 0
    batch = make_batch(args.rows, args.source, args.target, args.device)
    gauges, peer = gauges_of(args, config, batch)
    floors = {
        name: f"{name.split()[0]} floor" if name.startswith(("adapters ", "compiled ")) else "floor" for name in gauges
    }
    found = measure(gauges, floors, args.rounds)
    settings = {key: value for key, value in vars(args).items() if key not in ("output", "adapters_folder")}
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    report = {"variants": found, "settings": settings, "device": device, "versions": library_versions()}
    if peer:
        report["adapters_versions"] = peer.versions
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for name, values in found.items():
        print(f"{name:22s}", values)


if __name__ == "__main__":
    sys.exit(main())
