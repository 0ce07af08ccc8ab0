"""The command that measures what training costs: cost."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from hyperadapters._utils import InputError
from hyperadapters.cli.base import _command, _show
from hyperadapters.cli.options import _Backbone, _Json
from hyperadapters.cli.tables import _ResultTable
from hyperadapters.cli.task_options import _split_names


@_command("Look up")
def cost(
    methods: Annotated[
        str, typer.Option(help="Names of methods, or `all`: those that fit the backbone.")
    ] = "full,houlsby,compacter,compacter++",
    backbone: _Backbone = "embedded",
    batches: Annotated[
        str, typer.Option(help="Batch sizes to measure, two at least: memory is a straight line through them.")
    ] = "2,4,8",
    length: Annotated[int, typer.Option(help="Tokens of every source text.")] = 128,
    memory: Annotated[
        float, typer.Option(help="Memory of a device in GB, to _show the largest batch that fits in it.")
    ] = 24.0,
    precision: Annotated[str, typer.Option(help="What the backbone computes in: fp32 or bf16.")] = "fp32",
    rounds: Annotated[int, typer.Option(help="How often to measure every method; times are medians.")] = 3,
    json_output: _Json = False,
) -> None:
    """Measure the memory and time that training takes with each method: the paper's cost table.

    The backbone has random weights, so that nothing is downloaded for the sizes of T5. Memory is a fixed part and a
    part for each example. Differences are from full fine-tuning, in percent of its cost and, as the paper printed them,
    in percent of the method's own; the paper's numbers stand in brackets.

    Example:
    - `hyperadapters cost --backbone t5-base --methods all --batches 4,8,16`
    """
    from hyperadapters.methods import METHODS, method_named

    if precision not in ("fp32", "bf16") or rounds < 1:
        raise InputError(f"--precision {precision} --rounds {rounds}: fp32 or bf16, and one round at least.")
    if not 0 < memory < float("inf"):
        raise InputError(f"--memory {memory}: must be a number of GB, more than 0.")
    if not all(size.strip().isdecimal() for size in batches.split(",")):
        raise InputError(f"--batches {batches}: numbers with commas, such as 4,8,16.")
    sizes = [int(size) for size in batches.split(",")]
    wanted = {name: method_named(name) for name in (METHODS if methods == "all" else _split_names(methods))}
    from hyperadapters.backbones import default_device
    from hyperadapters.papers import measure_costs, random_backbone, split_by_fit

    device = default_device()
    chosen, left_out = split_by_fit(backbone, wanted)
    if left_out and methods != "all":
        raise InputError("\n  ".join(left_out.values()))
    model = random_backbone(backbone, device)
    how: Any = {"length": length, "precision": precision, "rounds": rounds, "quiet": json_output}
    found = measure_costs(model, chosen, sizes, **how)
    full = next((c for c in found if c.method == "full"), None)
    space = round(memory * 1e9)
    table = _cost_table(found, full, space, f"{backbone}, {length} tokens, {precision}, {device.type}")
    rows = [_cost_json(c, full, space) for c in found]
    value = {"backbone": backbone, "device": device.type, "memory_gb": memory, "methods": rows, "left_out": left_out}
    _show(value, json_output, table, *(f"left out: {name} ({why})" for name, why in left_out.items()))


def _cost_json(found: Any, full: Any, memory: int) -> dict[str, Any]:
    """Return one method's cost for `--json`."""
    from hyperadapters.papers import relative_to_full

    return {
        **asdict(found),
        "fixed_bytes": found.line[0],
        "bytes_per_example": found.line[1],
        "saved_bytes_per_example": found.saved_per_row,
        "tokens_per_second": found.tokens_a_second,
        "largest_batch": found.largest_batch(memory),
        "against_full": asdict(relative_to_full(found, full)),
    }


def _cost_table(found: Any, full: Any, memory: int, title: str) -> _ResultTable:
    """Return costs for a terminal.

    Args:
        found: the cost of each method.
        full: that of full fine-tuning, if it is among them.
        memory: bytes of a device.
        title: what was measured.
    """
    from hyperadapters._utils import human_bytes
    from hyperadapters.papers import relative_to_full

    def percent(ours: float | None, paper: float | None) -> str:
        return ("–" if ours is None else f"{ours:+.1f}") + ("" if paper is None else f" ({paper:+.1f})")

    room = f"batch in {memory / 1e9:g} GB"
    columns = ("method", "fixed", "per example", "kept", "Δ memory %", "of own", "step", "Δ time %", "tokens/s", room)
    rows = []
    for c in found:
        against = relative_to_full(c, full)
        cells = (
            human_bytes(max(0.0, c.line[0])),
            human_bytes(c.line[1]) if c.line[1] > 0 else "not seen",
            human_bytes(c.saved_per_row),
            percent(against.memory, against.paper_memory),
            percent(against.memory_of_own, against.paper_memory_of_own),
            f"{1000 * c.seconds:,.0f} ms",
            percent(against.time, against.paper_time),
            f"{c.tokens_a_second:,.0f}",
            f"{c.largest_batch(memory):,}" if c.line[1] > 0 else "–",
        )
        rows.append([c.method, *cells])
    return _ResultTable(title, columns, rows, ("of own", "kept", "tokens/s", "fixed", "step", room, "per example"))
