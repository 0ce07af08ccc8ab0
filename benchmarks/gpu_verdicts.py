"""What the files of `gpu.py` say about each open decision, in words, and the tables for docs/results/performance.md."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ENTRIES = ("step", "kernel", "packed", "pool", "compile", "cost", "said", "adapters")
"""In order of worth."""
OVER_FLOOR, OVER_LORA = 1.05, 1.2
"""Aims: a compiled step of Compacter++ over the compiled floor; its throughput over LoRA's in eager."""
OVER_ADAPTERS = 1.5
"""Aim: the throughput of a step over the adapters library's."""
WINS = 0.95
"""A kernel or a CUDA graph is worth having where it takes so much of the other's time at most."""
TIMES_AS_FAST = 8.0
"""Aim: runs trained together over one after the other."""
MANY_TASKS = 0.95
"""Aim: throughput of a batch of many tasks over a batch of one."""
LORA = "peft LoRA r=8 (q, v)"

Reports = Mapping[str, Any]
"""By entry, what its script reported."""


class DamagedError(Exception):
    """A folder or a file in it is not what `gpu.py` wrote."""


class OpenError(Exception):
    """What a verdict needs was not measured."""


def at(report: Any, *keys: str) -> Any:
    """Return what lies under these keys, one in the other.

    Raises:
        OpenError: there is no such key.
    """
    for place, key in enumerate(keys):
        if key not in report or report[key] is None:
            raise OpenError(f"no {' → '.join(keys[: place + 1])}")
        report = report[key]
    return report


def settle(folder: Path) -> str:
    """Return a verdict for each decision, then the tables.

    Raises:
        DamagedError: the folder holds no entry's file, or one that is damaged.
    """
    files = read(folder)
    reports = {name: file["report"] for name, file in files.items() if file["report"]}
    cards = sorted({report.get("device", "?") for report in reports.values()})
    lines = [f"measured on {', '.join(cards) or 'nothing'}"]
    if "cpu" in cards:
        lines.append("A rehearsal: figures of a CPU settle nothing; the words show what a GPU's would say.")
    lines += [f"{name} {file['state']}: {file['why']}" for name, file in files.items() if file["state"] != "done"]
    for name, (entry, verdict) in VERDICTS.items():
        lines += ["", f"{name}: {said(folder, entry, verdict, reports)}"]
    for title, (entry, table) in TABLES.items():
        if entry in reports:
            lines += ["", f"## {title}", "", said(folder, entry, table, reports)]
    return "\n".join(lines)


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the files of a folder by entry, in order of worth.

    Raises:
        DamagedError: there is none, or one is damaged.
    """
    if not folder.is_dir():
        raise DamagedError(f"there is no folder {folder}: give the one that --output named.")
    found = {}
    for name in ENTRIES:
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        try:
            found[name] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise damaged(path, error) from None
        if not isinstance(found[name], dict) or not {"state", "why", "report"} <= found[name].keys():
            raise damaged(path, "not an entry's file")
    if not found:
        raise DamagedError(f"{folder} holds no entry's file ({', '.join(f'{n}.json' for n in ENTRIES[:3])}, …).")
    return found


def damaged(path: Path, why: object) -> DamagedError:
    """Return the error for a file that is not what it should be."""
    return DamagedError(f"{path} is damaged ({why}): take it away, or measure again with --only {path.stem}.")


def said(folder: Path, entry: str, verdict: Callable[[Reports], str], reports: Reports) -> str:
    """Return a verdict, or that it is open.

    Raises:
        DamagedError: the entry's report is not of the form that its script writes.
    """
    try:
        return verdict(reports)
    except OpenError as why:
        return f"open, not measured ({why})."
    except (TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError) as error:
        raise damaged(folder / f"{entry}.json", error) from None


def floor_verdict(reports: Reports) -> str:
    """Compacter++ over the floor, both compiled."""
    over = at(reports, "step", "variants", "compiled compacter++", "time_over_floor")
    return f"{met(over <= OVER_FLOOR)}: compiled Compacter++ takes {over:.3f} of the compiled floor (aim {OVER_FLOOR})."


def lora_verdict(reports: Reports) -> str:
    """The throughput of Compacter++ over LoRA's, eager."""
    variants = at(reports, "step", "variants")
    ratio = at(variants, LORA, "seconds") / at(variants, "compacter++", "seconds")
    return f"{met(ratio >= OVER_LORA)}: Compacter++ has {ratio:.2f} times LoRA's throughput in eager (aim {OVER_LORA})."


def adapters_verdict(reports: Reports) -> str:
    """The throughput of Compacter++ over that of the adapters library."""
    variants = at(reports, "adapters", "variants")
    ratio = at(variants, "adapters compacter++", "seconds") / at(variants, "compacter++", "seconds")
    return f"{met(ratio >= OVER_ADAPTERS)}: {ratio:.2f} times the throughput of adapters 1.3.0 (aim {OVER_ADAPTERS})."


def met(aim: bool) -> str:
    """In a word, whether an aim was reached."""
    return "met" if aim else "missed"


def kernel_verdict(reports: Reports) -> str:
    """Whether the fused bottleneck goes into the package."""
    cases = at(reports, "kernel", "milliseconds")
    if not cases:
        raise OpenError("no case of the kernel")
    over = {name: times["fused"] / min(times["compiled"], times["eager"]) for name, times in cases.items()}
    shown = ", ".join(f"{ratio:.2f} with {name}" for name, ratio in over.items())
    if all(ratio <= WINS for ratio in over.values()):
        return f"kept. It takes {shown} of the better of compiled and eager: put it into the package."
    won = [name for name, ratio in over.items() if ratio <= WINS]
    if won:
        return f"kept for batches with {' and '.join(won)} alone. It takes {shown} of the better of compiled and eager."
    return (
        f"deleted. It takes {shown} of the better of compiled and eager, {WINS} would win: delete "
        "benchmarks/fused_bottleneck.py and write the loss in docs/log.md."
    )


def packing_verdict(reports: Reports) -> str:
    """Whether runs that are trained together stay in the package."""
    shapes = at(reports, "packed", "shapes")
    if not shapes:
        raise OpenError("no shape of the packed sweep")
    shown = ", ".join(f"{values['ratio']:.1f} at {short(name)}" for name, values in shapes.items())
    best = max(values["ratio"] for values in shapes.values())
    if best >= TIMES_AS_FAST:
        return f"packing stays: times as fast as one run after the other: {shown} (aim {TIMES_AS_FAST:.0f})."
    return f"packing goes: times as fast as one run after the other: {shown}; the aim is {TIMES_AS_FAST:.0f}."


def pool_verdict(reports: Reports) -> str:
    """A batch of many tasks against a batch of one."""
    found = {}
    for number, values in at(reports, "pool", "Compacter++", "resident").items():
        for way in ("pass", "decoding"):
            if "pool, many tasks" in values.get(way, {}):
                found[f"{way}, {number} resident"] = values[way]["pool, many tasks"] / values[way]["pool, one task"]
    if not found:
        raise OpenError("no batch of many tasks")
    shown = ", ".join(f"{ratio:.3f} ({name})" for name, ratio in found.items())
    aim = met(min(found.values()) >= MANY_TASKS)
    return f"{aim}: many tasks have of one task's throughput {shown} (aim {MANY_TASKS})."


def worth_verdict(reports: Reports) -> str:
    """The number that WORTH_COMPILING should be."""
    shapes = at(reports, "compile", "shapes")
    passes = {
        name: values["passes"]["compiled"] for name, values in shapes.items() if "compiled" in values.get("passes", {})
    }
    if not passes:
        raise OpenError("no compiled pass beside an eager one")
    gains = [number for number in passes.values() if number is not None]
    shown = ", ".join(
        f"{'never' if number is None else f'after {number:,} passes'} at {short(name)} "
        f"({shapes[name]['graph_seconds']['compiled'][-1]:.1f} s a graph, "
        f"{saved_milliseconds(shapes[name]['pass_seconds']):.2f} ms saved a pass)"
        for name, number in passes.items()
    )
    if not gains:
        return f"compiling never pays: {shown}. `auto` should compile nothing."
    number = rounded_up(max(gains))
    more = "" if len(gains) == len(passes) else " where it pays at all; it should leave the other shapes alone"
    return f"WORTH_COMPILING = {number}{more}. Compiling pays {shown}."


def saved_milliseconds(seconds: Mapping[str, float]) -> float:
    """What compiling saves of a pass."""
    return 1e3 * (seconds["eager"] - seconds["compiled"])


def rounded_up(number: float) -> int:
    """A number with two digits that count, not below."""
    unit = 10 ** max(0, math.floor(math.log10(max(1, number))) - 1)
    return math.ceil(number / unit) * unit


def graphs_verdict(reports: Reports) -> str:
    """Whether `auto` should use CUDA graphs."""
    shapes, over, failed = at(reports, "compile", "shapes"), {}, {}
    for name, values in shapes.items():
        seconds = values.get("pass_seconds", {})
        if "graphs" in seconds and "compiled" in seconds:
            over[name] = seconds["graphs"] / seconds["compiled"]
        elif "graphs" in values.get("failed", {}):
            failed[name] = values["failed"]["graphs"]
    if not over:
        raise OpenError(", ".join(f"{short(name)}: {why}" for name, why in failed.items()) or "no CUDA graph")
    shown = ", ".join(f"{ratio:.2f} at {short(name)}" for name, ratio in over.items())
    if all(ratio <= WINS for ratio in over.values()):
        return f"`auto` should use CUDA graphs: a pass takes {shown} of the compiled pass without."
    return (
        f"CUDA graphs stay an option: a pass takes {shown} of the compiled pass without ({WINS} everywhere would win)."
    )


def said_verdict(reports: Reports) -> str:
    """Intrinsic-SAID against full fine-tuning."""
    ratios = at(reports, "said", "ratios")
    time, memory = at(ratios, "seconds"), at(ratios, "peak_memory")
    return (
        f"Intrinsic-SAID takes {time:.2f} of full fine-tuning's time and {memory:.2f} of its memory (paper: 3.4, 1.7)."
    )


def short(shape: str) -> str:
    """A shape's name without folders."""
    return shape.rsplit("/", maxsplit=1)[-1]


VERDICTS: dict[str, tuple[str, Callable[[Reports], str]]] = {
    "step over the floor": ("step", floor_verdict),
    "step beside LoRA": ("step", lora_verdict),
    "kernel": ("kernel", kernel_verdict),
    "packing": ("packed", packing_verdict),
    "many tasks": ("pool", pool_verdict),
    "WORTH_COMPILING": ("compile", worth_verdict),
    "CUDA graphs": ("compile", graphs_verdict),
    "Intrinsic-SAID": ("said", said_verdict),
    "step beside adapters": ("adapters", adapters_verdict),
}
"""By decision, the entry that decides, and how."""


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown; what was not measured is a dash."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join('–' if cell is None else str(cell) for cell in line)} |" for line in lines)


def number(value: float | None, digits: int, factor: float = 1.0) -> str | None:
    """A value in another unit, with so many digits; None where it was not measured."""
    return None if value is None else f"{factor * value:.{digits}f}"


def steps_table(entry: str) -> Callable[[Reports], str]:
    """The steps of an entry over their floor."""

    def made(reports: Reports) -> str:
        rows = [
            [
                name,
                number(values.get("seconds"), 2, 1e3),
                number(values.get("time_over_floor"), 3),
                number(values.get("operations_over_floor"), 3),
                number(values.get("saved_bytes"), 1, 1e-6),
                number(values.get("peak_bytes"), 0, 1e-6),
            ]
            for name, values in at(reports, entry, "variants").items()
        ]
        return table(["", "ms", "time / floor", "operations / floor", "saved MB", "peak MB"], rows)

    return made


def pool_table(reports: Reports) -> str:
    """Many adapters in one batch, over one plain Delta, and peft's mixed batch over one LoRA."""
    rows = [
        [
            f"Compacter++, {count} resident, {way}",
            values[way].get("pool, one task"),
            values[way].get("pool, many tasks"),
        ]
        for count, values in at(reports, "pool", "Compacter++", "resident").items()
        for way in ("pass", "decoding")
        if way in values
    ]
    peft = reports["pool"].get("LoRA r=8 (q, v), peft", {})
    rows += [
        [f"LoRA of peft, {way}", 1.0, peft[way].get("adapter_names, many tasks")]
        for way in ("pass", "decoding")
        if way in peft
    ]
    return table(["throughput", "rows of one task", "rows of many tasks"], rows)


def cost_table(reports: Reports) -> str:
    """Every method's cost, the paper's figures in brackets."""

    def beside(values: Mapping[str, float | None], name: str) -> str | None:
        ours, paper = values.get(name), values.get(f"paper_{name}")
        shown = number(ours, 1)
        return shown if shown is None or paper is None else f"{shown} ({paper:.1f})"

    rows = [
        [
            cost["method"],
            cost["trained"],
            number(cost["seconds"], 1, 1e3),
            number(cost["tokens_per_second"], 0),
            number(cost["fixed_bytes"], 0, 1e-6),
            number(cost["bytes_per_example"], 1, 1e-6),
            beside(cost["against_full"], "memory"),
            beside(cost["against_full"], "time"),
        ]
        for cost in at(reports, "cost", "methods")
    ]
    head = ["", "trained", "ms a step", "tokens/s", "fixed MB", "MB a row", "memory a row, % of full (paper)"]
    return table([*head, "time, % of full (paper)"], rows)


TABLES: dict[str, tuple[str, Callable[[Reports], str]]] = {
    "A training step over the floor": ("step", steps_table("step")),
    "Many adapters in one batch": ("pool", pool_table),
    "The cost of every method": ("cost", cost_table),
    "A training step beside the adapters library": ("adapters", steps_table("adapters")),
}
"""By title, the entry that has the figures, and how the table is made."""
