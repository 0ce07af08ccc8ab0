"""Many adapters on one backbone: bytes, load time, and a batch of many tasks against a batch of one.

    python benchmarks/pool.py --backbone t5-base --counts 1,10,100,1000,10000 --peft --output results/pool.json

A fresh backbone of the given size (weights decide nothing here), and as many saved adapters as the largest count asks
for, each with numbers of its own, in a folder that is removed at the end. One forward pass without gradients over
`--rows` rows: with one adapter as a plain Delta, which is the measure; from a pool, all rows of one task; from a pool,
every row of another task as far as there are that many; and, at the end, with every adapter read from disk, a batch
ahead. The pool holds 1, 10, … adapters in memory. Time is the process's own processor time, all threads together, all
variants in turn; a figure is the median over rounds of the ratio of throughputs in the same round. What the operating
system keeps of files in memory makes load times those of a warm disk cache.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

import hyperadapters as ha
from hyperadapters._utils import library_versions
from hyperadapters.backbones import combine_masks, shape_config
from hyperadapters.delta import CONFIG, TENSORS, Delta

Batch = dict[str, Tensor]
NAME = "task-{:05d}"


def save_adapters(delta: Delta, folder: Path, number: int) -> dict[str, Path]:
    """So many adapters on disk, like a saved Delta's but with other numbers."""
    first = delta.save(folder / "first")
    config = (first / CONFIG).read_bytes()
    tensors = {name: tensor.detach().clone() for name, tensor in delta.tensors().items()}
    found = {}
    for i in range(number):
        path = found[NAME.format(i)] = folder / NAME.format(i)
        path.mkdir()
        (path / CONFIG).write_bytes(config)
        save_file({name: tensor.uniform_(-0.01, 0.01) for name, tensor in tensors.items()}, path / TENSORS)
    return found


def seconds(forward: Callable[[], Any]) -> float:
    """Processor time of one pass."""
    start = time.process_time()
    with torch.no_grad():
        forward()
    return time.process_time() - start


def in_turn(variants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """The median throughput of each variant over that of the first, and the first's time; nothing without rounds."""
    if not rounds:
        return {}
    seconds(next(iter(variants.values())))
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, forward in variants.items():
            times[name].append(seconds(forward))
    measure, *others = times
    ratios = {
        name: round(statistics.median(base / own for base, own in zip(times[measure], times[name], strict=True)), 3)
        for name in others
    }
    return {f"seconds, {measure}": round(statistics.median(times[measure]), 3), **ratios}


def load(pool: ha.Pool, names: Sequence[str]) -> float | None:
    """Milliseconds of processor time to bring an adapter into memory, over those that were not there."""
    missing = [name for name in names if name not in pool.resident]
    start = time.process_time()
    for i in range(0, len(missing), 64):
        pool.fetch(missing[i : i + 64])
    return round(1e3 * (time.process_time() - start) / len(missing), 3) if missing else None


def ours(backbone: nn.Module, batch: Batch, counts: Sequence[int], rounds: int, folder: Path) -> dict[str, Any]:
    """A pool's figures for every number of adapters in memory."""
    plain = ha.attach(backbone, ha.METHODS["compacter++"], name="plain")
    start = time.process_time()
    folders = save_adapters(plain, folder, max(counts))
    print(f"saved {len(folders)} adapters in {time.process_time() - start:.1f} s", flush=True)
    rows, names = len(batch["input_ids"]), list(folders)
    start = time.process_time()
    pool = ha.Pool(backbone, folders, resident=max(*counts, 2))
    found: dict[str, Any] = {
        "bytes": plain.bytes(),
        "file_bytes": (folders[names[0]] / TENSORS).stat().st_size,
        "milliseconds to know one": round(1e3 * (time.process_time() - start) / len(names), 3),
        "resident": {},
    }

    def from_plain() -> None:
        plain.use()
        backbone(**batch)

    def from_pool(chosen: Sequence[str]) -> None:
        pool.use()
        with pool.rows(chosen):
            backbone(**batch)

    for number in counts:
        took = load(pool, names[:number])
        tasks = [names[i % number] for i in range(rows)]
        variants = {"a plain Delta": from_plain, "pool, one task": lambda: from_pool(names[0])}
        if number > 1:
            variants["pool, many tasks"] = lambda tasks=tasks: from_pool(tasks)
        found["resident"][number] = {
            "tasks in the batch": len(set(tasks)),
            "milliseconds to load one": took,
            **in_turn(variants, rounds),
        }
        print(number, found["resident"][number], flush=True)
    pool.detach()
    if rounds and len(names) >= 4 * rows:
        found["from disk"] = from_disk(backbone, batch, folders, from_plain, rounds)
        print("from disk", found["from disk"], flush=True)
    return found


def from_disk(
    backbone: nn.Module, batch: Batch, folders: dict[str, Path], from_plain: Callable[[], None], rounds: int
) -> dict[str, Any]:
    """Every batch of tasks that the pool does not hold: it holds those of two batches, and reads one batch ahead."""
    rows, names, turn = len(batch["input_ids"]), list(folders), count()
    pool = ha.Pool(backbone, folders, resident=2 * rows)

    def tasks(number: int) -> list[str]:
        first = number * rows % (len(names) - rows)
        return names[first : first + rows]

    def reading() -> None:
        number = next(turn)
        pool.use()
        with pool.rows(tasks(number)):
            pool.prefetch(tasks(number + 1))
            backbone(**batch)

    found = in_turn({"a plain Delta": from_plain, "every task from disk": reading}, rounds)
    pool.detach()
    return found


def peft_lora(backbone: nn.Module, batch: Batch, rounds: int) -> dict[str, Any]:
    """LoRA of the peft library: as many adapters as rows, each row its own, against all rows with one."""
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 (needed with --peft alone)

    config = LoraConfig(task_type="SEQ_2_SEQ_LM", r=8, target_modules=["q", "v"], init_lora_weights=False)
    names = [NAME.format(i).replace("-", "_") for i in range(len(batch["input_ids"]))]
    model = get_peft_model(copy.deepcopy(backbone), config, adapter_name=names[0]).eval()
    start = time.process_time()
    for name in names[1:]:
        model.add_adapter(name, config)
    added = 1e3 * (time.process_time() - start) / max(1, len(names) - 1)
    variants = {
        "one adapter, active": lambda: model(**batch),
        "adapter_names, many tasks": lambda: model(**batch, adapter_names=names),
    }
    tensors = [tensor for name, tensor in model.named_parameters() if f".{names[0]}." in name]
    return {
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        "milliseconds to add one": round(added, 3),
        **in_turn(variants, rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="t5-base")
    parser.add_argument("--counts", default="1,10,100,1000,10000")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--source", type=int, default=32)
    parser.add_argument("--target", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds; 0: bytes and load times alone")
    parser.add_argument("--peft", action="store_true", help="LoRA of the peft library beside ours")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = shape_config(args.backbone)
    config.decoder_start_token_id = 0
    backbone = T5ForConditionalGeneration(config).eval().requires_grad_(False)
    batch = {
        "input_ids": torch.randint(3, 32_000, (args.rows, args.source)),
        "decoder_input_ids": torch.randint(3, 32_000, (args.rows, args.target)),
    }
    found: dict[str, Any] = {}
    if args.peft:
        found["LoRA r=8 (q, v), peft"] = peft_lora(backbone, batch, args.rounds)
        print("peft", found["LoRA r=8 (q, v), peft"], flush=True)
    combine_masks(backbone)
    with tempfile.TemporaryDirectory() as folder:
        counts = [int(number) for number in args.counts.split(",")]
        found["Compacter++"] = ours(backbone, batch, counts, args.rounds, Path(folder))
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    report = {**found, "settings": settings, "versions": library_versions()}
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
