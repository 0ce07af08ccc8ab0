"""Step time and peak memory of Intrinsic-SAID against full fine-tuning, steps taking turns in one run.

    OMP_NUM_THREADS=1 python benchmarks/said.py --output results/said-t5-small-cpu.json

Both train the same randomly initialised backbone on random tokens with AdamW, in float32, or with --precision bf16
under autocast. Full fine-tuning is plain
PyTorch over all parameters. The paper's figures for its published code are 3.4 times the time and 1.7 times the memory
(Compacter, arXiv:2106.04647v2, Table 3, whose % column divides by the method's own figure). On a CPU that other work
shares, processor time (`cpu_seconds`) is the figure to trust: it does not count waiting.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rounds import Budget, add_budget, card, in_rounds, write_report
from transformers import AutoModelForSeq2SeqLM

from hyperadapters import METHODS, attach
from hyperadapters._utils import PeakMemory, library_versions
from hyperadapters.backbones import shape_config

NAMES = ("full", "intrinsic-said")


class Trained:
    """A backbone in training by one of the two methods."""

    def __init__(self, method: str, backbone: str, device: torch.device, precision: str) -> None:
        torch.manual_seed(0)
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
        self.model = AutoModelForSeq2SeqLM.from_config(shape_config(backbone)).to(device).train()
        own = list(self.model.parameters())
        self.bytes = sum(tensor.numel() * tensor.element_size() for tensor in own)
        trained = own if method == "full" else list(attach(self.model, METHODS[method]).trained().values())
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4)

    def step(self, batch: dict[str, torch.Tensor]) -> None:
        with self.autocast:
            loss = self.model(**batch).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def peak_memory(trained: Trained, batch: dict[str, torch.Tensor], device: torch.device) -> int:
    """Bytes at the peak of two steps, the backbone and the optimizer's states included."""
    memory = PeakMemory(device)
    for _ in range(2):
        trained.step(batch)
    return memory.read() + (0 if device.type == "cuda" else trained.bytes)


def timed(step: Callable[[], None], device: torch.device, processor_times: list[float]) -> float:
    """Seconds by the clock; those of the processor are added to a list."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    clock, processor = time.perf_counter(), time.process_time()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    processor_times.append(time.process_time() - processor)
    return time.perf_counter() - clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="t5-small", help="whose shape to take")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--source", type=int, default=128, help="tokens of the source")
    parser.add_argument("--target", type=int, default=2, help="tokens of the target")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each method, after two to warm up")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--output", type=Path, required=True)
    add_budget(parser)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shapes = {"input_ids": args.source, "decoder_input_ids": args.target, "labels": args.target}
    batch = {key: torch.randint(3, 32_000, (args.batch, length), device=device) for key, length in shapes.items()}

    memory = {}
    for name in NAMES:
        trained = Trained(name, args.backbone, device, args.precision)
        memory[name] = peak_memory(trained, batch, device)
        del trained
        gc.collect()
    both = {name: Trained(name, args.backbone, device, args.precision) for name in NAMES}
    processor: dict[str, list[float]] = {name: [] for name in NAMES}
    variants = {
        name: lambda name=name, trained=trained: timed(lambda: trained.step(batch), device, processor[name])
        for name, trained in both.items()
    }
    in_rounds(variants, 2, Budget())
    for values in processor.values():
        values.clear()
    clock = in_rounds(variants, args.steps, Budget(args.budget))
    result = {
        "backbone": args.backbone,
        "batch": {"rows": args.batch, "source": args.source, "target": args.target},
        "precision": args.precision,
        "device": card(device),
        "threads": torch.get_num_threads(),
        "peak_memory_bytes": memory,
        "seconds": clock,
        "cpu_seconds": processor,
        "ratios": {
            "peak_memory": ratio({name: [value] for name, value in memory.items()}),
            "seconds": ratio(clock),
            "cpu_seconds": ratio(processor),
        },
        "versions": library_versions(),
    }
    write_report(args.output, result)
    print(json.dumps(result["ratios"]))


def ratio(values: dict[str, list[float]]) -> float:
    """Intrinsic-SAID's median over full fine-tuning's."""
    full, said = (statistics.median(values[name]) for name in NAMES)
    return round(said / full, 3)


if __name__ == "__main__":
    main()
