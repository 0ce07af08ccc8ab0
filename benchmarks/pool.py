"""Many adapters on one backbone: bytes, load time, and a batch of many tasks against a batch of one.

    python benchmarks/pool.py --backbone t5-base --counts 1,10,100,1000,10000 --peft --output results/pool.json

A fresh backbone of the given size (weights decide nothing here), and as many saved adapters as the largest count asks
for, each with numbers of its own, in a folder that is removed at the end. One forward pass without gradients over
`--rows` rows: with one adapter as a plain Delta, which is the measure; from a pool, all rows of one task; from a pool,
every row of another task as far as there are that many; and, at the end, with every adapter read from disk, a batch
ahead. The pool holds 1, 10, … adapters in memory. Time is the process's own processor time, all threads together, all
variants in turn; a figure is the median over rounds of the ratio of throughputs in the same round. What the operating
system keeps of files in memory makes load times those of a warm disk cache.

    python benchmarks/pool.py --device cuda --precision bfloat16 --counts 10000,64 --files 256 --decode 8 --output …

There, time is the clock's until the work is done, backbone and adapters are held in the given type, and --decode times
greedy decoding of so many tokens besides. --files writes so many adapters only, each known under several names: every
name has memory of its own in the pool, and is read and moved by itself. --budget ends the rounds in time.
"""

import argparse
import copy
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import torch
from compiled_step import HELD
from gauge import fresh_t5
from rounds import Budget, add_budget, card, in_rounds, now, seconds_of, write_report
from torch import Tensor, nn

import hyperadapters as ha
from hyperadapters._utils import library_versions, write_tensors
from hyperadapters.backbones import combine_masks, shape_config
from hyperadapters.delta import CONFIG, TENSORS, Delta, deciding_digest
from hyperadapters.storage import read_config

Batch = dict[str, Tensor]
NAME = "task-{:05d}"


Answer = Callable[[], Any]
"""Answers the batch once, in one way."""


def save_adapters(delta: Delta, folder: Path, number: int, files: int) -> dict[str, Path]:
    """So many adapters on disk, like a saved Delta's but with other numbers; beyond `files`, names of the same ones."""
    first = delta.save(folder / "first")
    config = (first / CONFIG).read_bytes()
    stated = {CONFIG: deciding_digest(read_config(first))}
    tensors = {name: tensor.detach().clone() for name, tensor in delta.tensors().items()}
    for i in range(min(number, files)):
        path = folder / NAME.format(i)
        path.mkdir()
        (path / CONFIG).write_bytes(config)
        moved = {name: tensor.uniform_(-0.01, 0.01) for name, tensor in tensors.items()}
        write_tensors(path / TENSORS, moved, stated)
    return {NAME.format(i): folder / NAME.format(i % files) for i in range(number)}


def in_turn(variants: Mapping[str, Answer], rounds: int, device: torch.device, budget: Budget) -> dict[str, Any]:
    """The median throughput of each variant over that of the first, and the first's time; nothing without rounds."""

    def measured(answer: Answer) -> float:
        with torch.no_grad():
            return seconds_of(answer, device)

    if not rounds:
        return {}
    for answer in variants.values():
        measured(answer)
    turns = {name: lambda answer=answer: measured(answer) for name, answer in variants.items()}
    times = in_rounds(turns, rounds, budget)
    measure, *others = times
    ratios = {
        name: round(statistics.median(base / own for base, own in zip(times[measure], times[name], strict=True)), 3)
        for name in others
    }
    spent = round(statistics.median(times[measure]), 5)
    return {f"seconds, {measure}": spent, "rounds": len(times[measure]), **ratios}


class Bench:
    """A backbone and a batch on a device, answered by a pass or by decoding, within a budget.

    Args:
        args: of the command line.
        report: what is known so far, written whenever something is added.
    """

    def __init__(self, args: argparse.Namespace, report: dict[str, Any]) -> None:
        self.args, self.report, self.device, self.budget = args, report, torch.device(args.device), Budget(args.budget)
        self.backbone = fresh_t5(shape_config(args.backbone), args.device, args.precision)
        shapes = {"input_ids": args.source, "decoder_input_ids": args.target}
        self.batch: Batch = {
            name: torch.randint(3, 32_000, (args.rows, tokens), device=self.device) for name, tokens in shapes.items()
        }

    def ways(self, model: nn.Module) -> dict[str, Callable[..., Any]]:
        """How a model answers the batch, by what that is called; arguments go on to the model."""
        found: dict[str, Callable[..., Any]] = {"pass": lambda **more: model(**self.batch, **more)}
        if tokens := self.args.decode:
            exactly = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
            found["decoding"] = lambda **more: model.generate(input_ids=self.batch["input_ids"], **exactly, **more)
        return found

    def write(self) -> None:
        """Write what is known."""
        write_report(self.args.output, self.report)


def load(bench: Bench, pool: ha.Pool, names: Sequence[str]) -> float | None:
    """Milliseconds to bring an adapter into memory, over those that were not there."""
    missing = [name for name in names if name not in pool.resident]
    start = now(bench.device)
    for i in range(0, len(missing), 64):
        pool.fetch(missing[i : i + 64])
    return round(1e3 * (now(bench.device) - start) / len(missing), 3) if missing else None


def ours(bench: Bench, counts: Sequence[int], folder: Path) -> None:
    """A pool's figures for every number of adapters in memory."""
    backbone, device, args = bench.backbone, bench.device, bench.args
    plain = ha.attach(backbone, ha.METHODS["compacter++"], name="plain", precision=HELD[args.precision])
    start = now(device)
    folders = save_adapters(plain, folder, max(counts), args.files or max(counts))
    print(f"saved {len({*folders.values()})} adapters in {now(device) - start:.1f} s", flush=True)
    rows, names = args.rows, list(folders)
    start = now(device)
    pool = ha.Pool(backbone, folders, resident=max(*counts, 2))
    found: dict[str, Any] = {
        "bytes": ha.count_parameters(plain).bytes,
        "file_bytes": (folders[names[0]] / TENSORS).stat().st_size,
        "files": len({*folders.values()}),
        "milliseconds to know one": round(1e3 * (now(device) - start) / len(names), 3),
        "resident": {},
    }
    bench.report["Compacter++"] = found
    for place, number in enumerate(counts):
        took = load(bench, pool, names[:number])
        tasks = [names[i * number // rows if number > rows else i % number] for i in range(rows)]
        values: dict[str, Any] = {"tasks in the batch": len(set(tasks)), "milliseconds to load one": took}
        found["resident"][number] = values
        ways = bench.ways(backbone)
        for turn, (way, answer) in enumerate(ways.items()):
            uses = {
                "a plain Delta": used(plain, answer),
                "pool, one task": used(pool, answer, names[0]),
                **({"pool, many tasks": used(pool, answer, tasks)} if number > 1 else {}),
            }
            left = (len(counts) - place) * len(ways) - turn + args.peft
            values |= {way: in_turn(uses, args.rounds, device, bench.budget.share(1 / left))}
            bench.write()
        print(number, values, flush=True)
    pool.detach()
    if args.rounds and len(names) >= 4 * rows and not args.files:
        found["from disk"] = from_disk(bench, folders, used(plain, bench.ways(backbone)["pass"]))
        print("from disk", found["from disk"], flush=True)
    bench.write()


def used(what: Delta | ha.Pool, answer: Callable[..., Any], rows: str | list[str] = "") -> Answer:
    """The batch answered with a Delta, or with the adapters of a pool that its rows name."""

    def one() -> None:
        what.use()
        with what.rows(rows) if isinstance(what, ha.Pool) else nullcontext():
            answer()

    return one


def from_disk(bench: Bench, folders: dict[str, Path], from_plain: Answer) -> dict[str, Any]:
    """Every batch of tasks that the pool does not hold: it holds those of two batches, and reads one batch ahead."""
    rows, names, turn = bench.args.rows, list(folders), count()
    pool = ha.Pool(bench.backbone, folders, resident=2 * rows)

    def tasks(number: int) -> list[str]:
        first = number * rows % (len(names) - rows)
        return names[first : first + rows]

    def reading() -> None:
        number = next(turn)
        pool.use()
        with pool.rows(tasks(number)):
            pool.prefetch(tasks(number + 1))
            bench.backbone(**bench.batch)

    variants = {"a plain Delta": from_plain, "every task from disk": reading}
    found = in_turn(variants, bench.args.rounds, bench.device, bench.budget)
    pool.detach()
    return found


def peft_lora(bench: Bench) -> None:
    """LoRA of the peft library: as many adapters as rows, each row its own, against all rows with one."""
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 (needed with --peft alone)

    config = LoraConfig(task_type="SEQ_2_SEQ_LM", r=8, target_modules=["q", "v"], init_lora_weights=False)
    names = [NAME.format(i).replace("-", "_") for i in range(bench.args.rows)]
    model = get_peft_model(
        copy.deepcopy(bench.backbone), config, adapter_name=names[0], autocast_adapter_dtype=False
    ).eval()
    start = now(bench.device)
    for name in names[1:]:
        model.add_adapter(name, config, autocast_adapter_dtype=False)
    added = 1e3 * (now(bench.device) - start) / max(1, len(names) - 1)
    tensors = [tensor for name, tensor in model.named_parameters() if f".{names[0]}." in name]
    found: dict[str, Any] = {
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        "milliseconds to add one": round(added, 3),
    }
    bench.report["LoRA r=8 (q, v), peft"] = found
    ways = bench.ways(model)
    for turn, (way, answer) in enumerate(ways.items()):
        variants = {
            "one adapter, active": answer,
            "adapter_names, many tasks": lambda answer=answer: answer(adapter_names=names),
        }
        budget = bench.budget.share(1 / (len(ways) - turn))
        found[way] = in_turn(variants, bench.args.rounds, bench.device, budget)
        bench.write()
    print("peft", found, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="t5-base")
    parser.add_argument("--counts", default="1,10,100,1000,10000")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--source", type=int, default=32)
    parser.add_argument("--target", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds; 0: bytes and load times alone")
    parser.add_argument("--peft", action="store_true", help="LoRA of the peft library beside ours")
    parser.add_argument("--decode", type=int, default=0, help="time the decoding of so many tokens too")
    parser.add_argument("--files", type=int, default=0, help="write so many adapters at most, under several names")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--output", type=Path, required=True)
    add_budget(parser)
    args = parser.parse_args()
    if args.device == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = {key: value for key, value in vars(args).items() if key != "output"}
    report = {"settings": settings, "device": card(torch.device(args.device)), "versions": library_versions()}
    bench = Bench(args, report)
    plain = copy.deepcopy(bench.backbone) if args.peft else None
    combine_masks(bench.backbone)
    with tempfile.TemporaryDirectory() as folder:
        ours(bench, [int(number) for number in args.counts.split(",")], Path(folder))
    if plain is not None:
        bench.backbone = plain
        peft_lora(bench)


if __name__ == "__main__":
    main()
