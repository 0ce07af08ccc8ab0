"""Commands over many runs: sweep, cost, report."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from hyperadapters._utils import InputError, console
from hyperadapters.cli.base import command, quiet_libraries, show
from hyperadapters.cli.options import (
    Backbone,
    BackboneOfAll,
    CPUs,
    DataOfAll,
    DryRun,
    EngineName,
    ExperimentsFile,
    GPUs,
    Jobs,
    Json,
    KeepAdapters,
    Only,
    Packing,
    RetryFailed,
    Settings,
    SweepFolder,
    Track,
)
from hyperadapters.cli.planning import changes, names_in

if TYPE_CHECKING:
    from hyperadapters.sweeps import Executor


def engine_of(name: str, jobs: int | None, cpus: float, gpus: float | None) -> "Executor":
    """What carries a sweep's runs out."""
    from hyperadapters.sweeps import local_executor, ray_executor

    if name == "ray":
        return ray_executor(cpus=cpus, gpus=gpus, most=jobs)
    if cpus != 1 or gpus is not None:
        raise InputError("--cpus and --gpus are shares of a cluster: they go with --engine ray.")
    return local_executor(jobs or 1)


@command
def sweep(
    file: ExperimentsFile,
    output: SweepFolder = Path("results/sweep"),
    only: Only = [],  # noqa: B006 (typer copies it)
    settings: Settings = [],  # noqa: B006 (typer copies it)
    backbone: BackboneOfAll = "",
    data: DataOfAll = "",
    engine: EngineName = "local",
    jobs: Jobs = None,
    cpus: CPUs = 1.0,
    gpus: GPUs = None,
    pack: Packing = "auto",
    track: Track = "",
    dry_run: DryRun = False,
    retry_failed: RetryFailed = False,
    keep_adapters: KeepAdapters = False,
    json_output: Json = False,
) -> None:
    """Run every experiment of a Python file that has no result yet.

    The file is your own program and is run as such. Each run ends as OUTPUT/<key>/result.json. The sweep may be killed
    at any moment and started again with the same command; a run that fails is tried once more, then
    OUTPUT/<key>.failed.json says why.

    Examples:
        hyperadapters sweep experiments/table1.py --dry-run

        hyperadapters sweep experiments/table1.py --only task=glue/mrpc,glue/rte --data glue_data --jobs 2

        hyperadapters sweep experiments/table1.py --engine ray --gpus 0.5
    """
    from hyperadapters.sweeps import change_all, describe_sweep, forecast, keep_matching, load_experiments
    from hyperadapters.sweeps import sweep as run_all

    carried_out = engine_of(engine, jobs, cpus, gpus)
    planned = change_all(load_experiments(file), backbone=backbone, data=data, changes=changes(settings))
    planned = keep_matching(planned, changes(only, "--only", "method=compacter"))
    quiet_libraries()
    if dry_run:
        found = forecast(planned, output, jobs=jobs or 1, retry=retry_failed)
        show(asdict(found), json_output, *forecast_table(found, jobs or 1))
        return
    try:
        swept = run_all(
            planned,
            output,
            executor=carried_out,
            retry=retry_failed,
            keep=keep_adapters,
            track=names_in(track),
            pack=(jobs or 1) if pack == "auto" and engine == "local" else 0,
        )
    except KeyboardInterrupt:
        console.print("stopped; nothing is lost. The same command goes on.")
        raise typer.Exit(130) from None
    value = {"output": str(output), "done": list(swept.results), "failed": swept.failed, "elsewhere": swept.elsewhere}
    show(value, json_output, *describe_sweep(swept, output))
    if swept.failed:
        raise typer.Exit(1)


@command
def cost(
    methods: Annotated[
        str, typer.Option(help="Names of methods, or `all`: those that fit the backbone.")
    ] = "full,houlsby,compacter,compacter++",
    backbone: Backbone = "embedded",
    batches: Annotated[str, typer.Option(help="Batch sizes, two at least: memory is a line through them.")] = "2,4,8",
    length: Annotated[int, typer.Option(help="Tokens of every source.")] = 128,
    memory: Annotated[float, typer.Option(help="Say the largest batch that fits in so many GB.")] = 24.0,
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    rounds: Annotated[int, typer.Option(help="Turns of every method; times are medians over them.")] = 3,
    json_output: Json = False,
) -> None:
    """Measure memory and time of training for every method: the paper's cost table.

    Weights are random, of the backbone's shape; nothing is downloaded for T5's own sizes. Memory is a fixed part and a
    part for each example. Differences are from full fine-tuning, in percent of it and, as the paper printed them, of
    the method's own; the paper's stand in brackets.

    Example:
        hyperadapters cost --backbone t5-base --methods all --batches 4,8,16
    """
    from hyperadapters.backbones import default_device
    from hyperadapters.methods import METHODS, method_named
    from hyperadapters.papers import measure_costs, random_backbone, split_by_fit

    if precision not in ("fp32", "bf16") or rounds < 1:
        raise InputError(f"--precision {precision} --rounds {rounds}: fp32 or bf16, and one round at least.")
    if not 0 < memory < float("inf"):
        raise InputError(f"--memory {memory}: a number of GB, more than 0.")
    if not all(size.strip().isdecimal() for size in batches.split(",")):
        raise InputError(f"--batches {batches}: numbers with commas, such as 4,8,16.")
    device = default_device()
    sizes = [int(size) for size in batches.split(",")]
    names = list(METHODS) if methods == "all" else names_in(methods)
    chosen, left_out = split_by_fit(backbone, {name: method_named(name) for name in names})
    if left_out and methods != "all":
        raise InputError("\n  ".join(left_out.values()))
    model = random_backbone(backbone, device)
    how: Any = {"length": length, "precision": precision, "rounds": rounds, "quiet": json_output}
    found = measure_costs(model, chosen, sizes, **how)
    full = next((c for c in found if c.method == "full"), None)
    space = round(memory * 1e9)
    table = cost_table(found, full, space, f"{backbone}, {length} tokens, {precision}, {device.type}")
    rows = [cost_json(c, full, space) for c in found]
    value = {"backbone": backbone, "device": device.type, "memory_gb": memory, "methods": rows, "left_out": left_out}
    show(value, json_output, table, *(f"left out: {name} ({why})" for name, why in left_out.items()))


def cost_json(found: Any, full: Any, memory: int) -> dict[str, Any]:
    """One method's cost for `--json`."""
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


def cost_table(found: Any, full: Any, memory: int, title: str) -> Table:
    """Costs for a terminal."""
    from hyperadapters._utils import human_bytes
    from hyperadapters.papers import relative_to_full

    def percent(ours: float | None, paper: float | None) -> str:
        return ("–" if ours is None else f"{ours:+.1f}") + ("" if paper is None else f" ({paper:+.1f})")

    table = Table(title=title, title_justify="left")
    table.add_column("method", no_wrap=True)
    columns = [
        "fixed",
        "per example",
        "kept",
        "Δ %",
        "Δ % of own",
        "step",
        "Δ %",
        "tokens/s",
        f"batch in {memory / 1e9:g} GB",
    ]
    for column in columns:
        table.add_column(column, justify="right")
    for c in found:
        against = relative_to_full(c, full)
        table.add_row(
            c.method,
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
    return table


@command
def report(
    results: Annotated[
        Path,
        typer.Argument(help="Folder with runs, at any depth, such as a sweep's OUTPUT; or a .jsonl file of results."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")] = Path("report"),
    json_output: Json = False,
) -> None:
    """Make every table and figure of the papers for which there are results.

    Writes Markdown, LaTeX, one HTML page that needs nothing else, and the figures as SVG and PDF: scores with the
    paper's row below ours where it is known, trade-off, sizes, low-resource and few-shot curves, costs, task embeddings
    (of adapters that were kept), learning curves. Rates are chosen on validation.

    Example:
        hyperadapters report results/table1 -o report
    """
    from hyperadapters.reports import read_results, versions_differ, write_report

    found, wrong = read_results(results)
    for problem in [*(f"left out: {text}" for text in wrong), *versions_differ(list(found.values()))]:
        console.print(problem, soft_wrap=True)
    paths = write_report(found, output, wrong)
    show({"results": len(found), **paths}, json_output, f"{len(found)} results", *paths.values())


def forecast_table(found: Any, jobs: int) -> list[Any]:
    """A forecast for a terminal."""
    table = Table(title="still to do", title_justify="left")
    table.add_column("task")
    for column in ("runs", "steps", "tokens", "hours, about"):
        table.add_column(column, justify="right")
    rows: list[tuple[Any, ...]] = [
        (cost.task, cost.runs, cost.steps, cost.tokens, cost.seconds) for cost in found.costs
    ]
    if rows:
        _, *columns, seconds = zip(*rows, strict=True)
        rows.append(("all", *map(sum, columns), None if None in seconds else sum(seconds)))
    for task, *numbers, seconds in rows:
        hours = "unknown" if seconds is None else f"{seconds / 3600 / jobs:,.2f}"
        table.add_row(task, *(f"{number:,}" for number in numbers), hours)
    missing = [f"not counted: {task}: {why}" for task, why in found.unknown.items()]
    last = f"{found.done} done already; hours at {jobs} run(s) at a time, with evaluations, without start and loading"
    failed = (
        [f"{found.failed} failed and are left alone; --retry-failed tries again what failed for good"]
        if found.failed
        else []
    )
    return [*([table] if rows else []), *missing, *found.basis, *failed, last]
