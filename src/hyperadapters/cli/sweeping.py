"""Commands over many runs: sweep, report."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from hyperadapters._utils import InputError, check_extra, console
from hyperadapters.cli.base import _command, _quiet_libraries, _show
from hyperadapters.cli.options import (
    _ExecutorOptions,
    _Json,
    _SweepOptions,
    _Track,
)
from hyperadapters.cli.planning import _changed_settings, _split_settings
from hyperadapters.cli.task_options import _split_names

if TYPE_CHECKING:
    from hyperadapters.sweeps import Executor, Forecast, Race


def _choose_executor(options: _ExecutorOptions) -> "Executor":
    """Return what carries out the runs of a sweep.

    Raises:
        InputError: the options do not go together, or Ray is not installed.
    """
    if options.engine == "local" and (options.cpus != 1 or options.gpus is not None):
        raise InputError("--cpus and --gpus are shares of a cluster: they go with --engine ray.")
    from hyperadapters.sweeps import local_executor, ray_executor

    if options.engine == "ray":
        return ray_executor(cpus=options.cpus, gpus=options.gpus, most=options.jobs)
    return local_executor(options.jobs or 1)


@_command("Many runs")
def sweep(
    file: Annotated[
        Path, typer.Argument(help="Python file with a function `experiments()` that returns a list of Experiment.")
    ],
    executor: _ExecutorOptions,
    changes: _SweepOptions,
    output: Annotated[Path, typer.Option(help="Folder for the results; several sweeps may share one.")] = Path(
        "results/sweep"
    ),
    only: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE,…",
            help="Run only the experiments with these values: method=compacter,compacter++, task=glue/mrpc, "
            "training.lr=3e-3. May be repeated.",
        ),
    ] = [],  # noqa: B006 (typer copies it)
    backbone: Annotated[str, typer.Option(help="Use this backbone in every experiment.")] = "",
    data: Annotated[str, typer.Option(help="Folder with the official files, for every experiment.")] = "",
    track: _Track = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is left to do and how long it takes.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again the runs that failed twice and were given up.")
    ] = False,
    keep_adapters: Annotated[
        bool, typer.Option("--keep-adapters", help="Keep the trained adapters too, not only the results.")
    ] = False,
    race_rates: Annotated[
        bool,
        typer.Option(
            "--race",
            help="Race experiments that differ in the learning rate alone: the better half goes on at each stop, the "
            "last after two fifths of the steps, and only the best is trained to its end and tested.",
        ),
    ] = False,
    json_output: _Json = False,
) -> None:
    """Run every experiment of a Python file that has no result yet.

    The file is your own program and is run as such. Each run ends as `OUTPUT/<key>/result.json`. The sweep may be
    killed at any moment and started again with the same command. A run that fails is tried once more; then
    `OUTPUT/<key>.failed.json` says why.

    Examples:
    - `hyperadapters sweep experiments/table1.py --dry-run`
    - `hyperadapters sweep experiments/table1.py --only task=glue/mrpc,glue/rte --data glue_data --jobs 2`
    - `hyperadapters sweep experiments/table1.py --max-train 64 --steps 20 --output out/trial`
    - `hyperadapters sweep experiments/table1.py --engine ray --gpus 0.5`
    """
    if not file.is_file():
        raise InputError(f"{file} does not exist. A sweep is a Python file with a function experiments().")
    if data and not Path(data).is_dir():
        raise InputError(f"--data {data}: there is no such folder.")
    if race_rates and track:
        raise InputError("--race pauses runs, which --track cannot follow: leave one of them out.")
    wanted, kept = _changed_settings(changes), _split_settings(only, "--only", "method=compacter")
    carried_out = _choose_executor(executor)
    from hyperadapters.sweeps import change_all, describe_sweep, forecast, keep_matching, load_experiments, race
    from hyperadapters.sweeps import sweep as run_all

    planned = keep_matching(change_all(load_experiments(file), backbone=backbone, data=data, changes=wanted), kept)
    _quiet_libraries()
    jobs = executor.jobs or 1
    if dry_run:
        found = forecast(planned, output, jobs=jobs, retry=retry_failed)
        _show(asdict(found), json_output, *_forecast_lines(found, jobs))
        return
    pack = jobs if executor.pack == "auto" and executor.engine == "local" else 0
    try:
        if race_rates:
            raced = race(planned, output, executor=carried_out, pack=pack, keep=keep_adapters, retry=retry_failed)
            _show(
                {"output": str(output), "races": [_race_facts(one) for one in raced.races]},
                json_output,
                *map(_describe_race, raced.races),
            )
            return
        swept = run_all(
            planned,
            output,
            executor=carried_out,
            retry=retry_failed,
            keep=keep_adapters,
            track=_split_names(track),
            pack=pack,
        )
    except KeyboardInterrupt:
        console.print("Stopped; nothing is lost. The same command continues.")
        raise typer.Exit(130) from None
    value = {"output": str(output), "done": list(swept.results), "failed": swept.failed, "elsewhere": swept.elsewhere}
    _show(value, json_output, *describe_sweep(swept, output))
    if swept.failed:
        raise typer.Exit(1)


def _race_facts(one: "Race") -> dict[str, Any]:
    """Return what came of a race, as JSON."""
    return {**asdict(one), "experiment": one.experiment.to_json()}


def _describe_race(one: "Race") -> str:
    """Return a line that says who won a race, and what it cost."""
    from hyperadapters.runs import label_of, task_name

    run = one.experiment
    return (
        f"{task_name(run.task)}, {label_of(run.method)} on {run.backbone}: {one.winner} of "
        f"{len(one.stops[0].scores) if one.stops else 1}; {one.steps:,} steps of {one.grid_steps:,}"
    )


@_command("Many runs")
def report(
    results: Annotated[
        Path,
        typer.Argument(
            help="Folder that holds runs, at any depth, such as the --output of a sweep; or a .jsonl file of results."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")] = Path("report"),
    json_output: _Json = False,
) -> None:
    """Write every table and figure of the papers for which there are results.

    Writes Markdown, LaTeX, one HTML page that needs no other file, and the figures as SVG and PDF: scores, with the
    paper's below ours where they are known; score against size; low-resource, few-shot and learning curves; costs;
    task embeddings, if adapters were kept. Of several learning rates, the best on validation is shown.

    Example:
    - `hyperadapters report results/table1 -o report`
    """
    if not results.exists():
        raise InputError(
            f"{results} does not exist. Name a folder with runs, such as the --output of a sweep, or a .jsonl file."
        )
    check_extra("reports", "a report has figures and intervals")
    from hyperadapters.reports import read_embeddings, read_results, versions_differ, write_report

    found, wrong = read_results(results)
    wrong = [*wrong, *read_embeddings(found)[1]]
    for problem in [*(f"left out: {text}" for text in wrong), *versions_differ(list(found.values()))]:
        console.print(problem, soft_wrap=True)
    paths = write_report(found, output, wrong)
    _show({"results": len(found), **paths}, json_output, f"{len(found)} results", *paths.values())


def _forecast_lines(found: "Forecast", jobs: int) -> list[Table | str]:
    """Return a forecast for a terminal: a table of what is left to do, and what its hours rest on.

    Args:
        found: what `forecast` counted.
        jobs: runs at a time.
    """
    table = Table(title="still to do", title_justify="left")
    table.add_column("task", overflow="fold")
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
