"""The command line: thin; every command is a few calls of the library.

Exit codes: 0 done, 1 a fault of ours, a run of a sweep that failed or output that nobody reads on, 2 a wrong input,
130 interrupted.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from hyperadapters.errors import InputError
from hyperadapters.progress import console

if TYPE_CHECKING:
    from hyperadapters.engines import Engine

app = typer.Typer(
    name="hyperadapters",
    help="Adapt one frozen pretrained transformer to thousands of tasks, at a few hundred kilobytes each.\n\n"
    "Start with: hyperadapters compare --output out/demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")]
MethodName = Annotated[
    str, typer.Option(help="A name that `hyperadapters methods` lists, or peft:NAME for one of the peft library.")
]
Backbone = Annotated[
    str, typer.Option(help="A folder, a name on the Hugging Face Hub, or `embedded`: the T5 inside the package.")
]
TaskName = Annotated[
    str,
    typer.Option(
        "--task", help="A name that `hyperadapters tasks` lists, or several with commas: one adapter holds them all."
    ),
]
OneOfTasks = Annotated[str, typer.Option("--task", help="Which task, where the adapter holds several.")]
DataFolder = Annotated[str, typer.Option("--data", help="Folder with the task's official files; without it, the Hub.")]
TrainFile = Annotated[
    str,
    typer.Option(
        "--train",
        help="Your own training rows: JSONL, CSV, TSV or Parquet. Without --text: rows with messages, or with prompt "
        "and response.",
    ),
]
ValidationFile = Annotated[str, typer.Option("--validation", help="Your own validation rows.")]
TestFile = Annotated[str, typer.Option("--test", help="Your own test rows, scored once at the end.")]
TextColumns = Annotated[str, typer.Option("--text", help="Columns of the source text, in order: premise,hypothesis.")]
LabelColumn = Annotated[str, typer.Option("--label", help="Column with the class.")]
TargetColumn = Annotated[str, typer.Option("--target", help="Column with the answer where it is free text.")]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="Change a setting: method.KEY, training.KEY, text.KEY or evaluation.KEY, as in "
        "`--set method.n=8 --set training.lr=3e-3`; with several tasks task.temperature too. Repeat it. "
        "`--set training.?=` lists the keys of a section; docs/training.md explains them.",
    ),
]
StartFolder = Annotated[
    str,
    typer.Option(
        "--from",
        help="Go on from this trained adapter, with its method and backbone. One that holds several tasks gets the new "
        "task besides; one of a single task is trained further.",
    ),
]
InitTask = Annotated[
    str, typer.Option("--init-task", help="With --from: the task that the new one starts from; else the mean of all.")
]
Freeze = Annotated[bool, typer.Option("--freeze", help="With --from: train only what the new task has for itself.")]
MaxTrain = Annotated[
    int | None, typer.Option("--max-train", help="Train on so many rows, drawn by the seed: --set text.train_rows.")
]
Steps = Annotated[
    int | None, typer.Option("--steps", help="Train for so many steps instead of epochs: --set training.steps.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")]
Track = Annotated[
    str, typer.Option(help="Follow the training in tensorboard, wandb, mlflow or trackio; several with commas.")
]
AdapterFolder = Annotated[Path, typer.Argument(help="Folder of a saved adapter.", show_default=False)]
OtherBackbone = Annotated[
    str, typer.Option("--backbone", help="Where to load the backbone from, if not from the place the adapter names.")
]


def fail(code: int, message: str) -> NoReturn:
    """Say what is wrong on standard error and leave with an exit code."""
    console.print(f"error: {message}", style="red", soft_wrap=True)
    raise typer.Exit(code)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command whose errors become messages and exit codes."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        from hyperadapters.train import Interrupted

        try:
            function(*args, **kwargs)
            sys.stdout.flush()
        except InputError as error:
            fail(2, str(error))
        except Interrupted:
            console.print("stopped; nothing is lost. To go on, give the same command with --resume.")
            raise typer.Exit(130) from None
        except KeyboardInterrupt:
            console.print("interrupted")
            raise typer.Exit(130) from None
        except (typer.Exit, BrokenPipeError):  # what reads our output, such as `head`, may leave: so do we
            raise
        except Exception as error:
            if os.environ.get("HYPERADAPTERS_DEBUG"):
                raise
            fail(1, f"{type(error).__name__}: {error} (a fault of ours; HYPERADAPTERS_DEBUG=1 shows where)")

    app.command()(guarded)
    return guarded


def show(value: dict[str, Any], as_json: bool, *tables: Any) -> None:
    """Print a result: JSON alone, or tables and lines. Of several processes only the first prints."""
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
        return
    out = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)
    for table in tables:
        out.print(table, soft_wrap=isinstance(table, str))


def quiet_libraries() -> None:
    """No progress bars but ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def changes(settings: list[str], option: str = "--set", example: str = "training.lr=3e-3") -> dict[str, str]:
    """`--set a.b=c` options as a mapping."""
    wrong = [item for item in settings if "=" not in item]
    if wrong:
        raise InputError(f"{option} {wrong[0]}: write it as key=value, such as {example}.")
    return dict(item.split("=", 1) for item in settings)


def names_in(text: str) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def settings_of(method: str, methods: list[str], settings: list[str]) -> list[str]:
    """The `--set` options that concern one of several methods: `NAME.KEY` is its own `method.KEY`."""
    sections = [(item.partition(".")[0], item) for item in settings]
    mine = [f"method{item.removeprefix(method)}" for section, item in sections if section == method]
    return [item for section, item in sections if section not in methods] + mine


def choose_task(task: str, data: str, files: dict[str, str], text: str, label: str, target: str) -> Any:
    """The task that the options describe: a named one, several, or a user's own files."""
    from hyperadapters.experiment import FilesTask, InstructionsTask, MixtureTask, NamedTask
    from hyperadapters.tasks import task_named

    given = [f"--{name}" for name, value in {**files, "text": text, "label": label, "target": target}.items() if value]
    if task and given:
        raise InputError(f"--task names a task of the package, {given[0]} files of your own: give one or the other.")
    if not given:
        names = tuple(names_in(task or "demo/paraphrase"))
        for name in names:
            task_named(name)
        if not names or len(set(names)) < len(names):
            raise InputError(f"--task {task}: name each task once, such as demo/paraphrase,demo/sentiment.")
        return MixtureTask(names=names, data=data) if len(names) > 1 else NamedTask(name=names[0], data=data)
    missing = [f"--{name}" for name in ("train", "validation") if not files[name]]
    if not missing and not (text or label or target):
        return InstructionsTask(**files)
    missing += [] if text else ["--text"]
    missing += [] if label or target else ["--label (or --target)"]
    if missing:
        raise InputError(f"your own files need {', '.join(missing)} too.")
    if label and target:
        raise InputError("--label is for classes, --target for free text: give one of them.")
    columns = tuple(names_in(text))
    return FilesTask(**files, text=columns, answer=label or target, classify=bool(label))


def plan(chosen: Any, task: Any, backbone: str, settings: list[str], start: Any = None) -> Any:
    """The experiment that the options describe, with the method's and the task's own defaults."""
    from hyperadapters.experiment import Experiment, NamedTask, Training, suggested_rate, text_for, with_changes
    from hyperadapters.tasks import task_named

    epochs = task_named(task.name).epochs if isinstance(task, NamedTask) else 3
    training = Training(lr=suggested_rate(chosen, backbone), epochs=epochs, **held_types(start))
    text = text_for(task)
    experiment = Experiment(method=chosen, task=task, backbone=backbone, training=training, text=text, start=start)
    return with_changes(experiment, changes(settings))


def held_types(start: Any) -> dict[str, Any]:
    """The types that backbone and adapter are held in where a run goes on from an adapter: those of its training."""
    from hyperadapters.store import read_config

    if not start:
        return {}
    config = read_config(start.adapter)
    return {"backbone_precision": config["backbone"]["precision"], "adapter_precision": config["precision"]}


def choose_start(folder: str, init_task: str, freeze: bool, named: bool) -> Any:
    """The trained adapter that the options say to go on from, if any; `named` says that a task is given."""
    from hyperadapters.start import start_from

    if folder and not named:
        raise InputError("--from goes on with a task: say which with --task, or give files of your own.")
    if folder:
        return start_from(folder, init_task, freeze=freeze)
    for option, value in {"--init-task": init_task, "--freeze": freeze}.items():
        if value:
            raise InputError(f"{option} goes with --from, a trained adapter that holds several tasks.")
    return None


def choose_method(context: typer.Context, method: str, backbone: str, start: Any) -> tuple[Any, str]:
    """The method and the backbone that the command line names or, where it does not, that a run goes on from."""
    from hyperadapters.methods import method_from_json, method_named
    from hyperadapters.store import read_config

    if not start:
        return method_named(method), backbone
    config = read_config(start.adapter)
    kept, place = method_from_json(config["method"]), config["backbone"]["name"]
    return (
        method_named(method) if was_given(context, "method") else kept,
        backbone if was_given(context, "backbone") else place,
    )


def was_given(context: typer.Context, name: str) -> bool:
    """Whether the command line gives a parameter, and not its default."""
    return getattr(context.get_parameter_source(name), "name", "") != "DEFAULT"


@command
def train(
    context: typer.Context,
    task: TaskName = "",
    method: MethodName = "compacter++",
    backbone: Backbone = "embedded",
    output: Annotated[Path, typer.Option(help="Folder for the adapter and the result; new or empty.")] = Path(
        "out/adapter"
    ),
    data: DataFolder = "",
    train: TrainFile = "",
    validation: ValidationFile = "",
    test: TestFile = "",
    text: TextColumns = "",
    label: LabelColumn = "",
    target: TargetColumn = "",
    start: StartFolder = "",
    init_task: InitTask = "",
    freeze: Freeze = False,
    max_train: MaxTrain = None,
    steps: Steps = None,
    settings: Settings = [],  # noqa: B006 (typer copies it)
    track: Track = "",
    resume: Resume = False,
    json_output: Json = False,
) -> None:
    """Train one adapter and save it.

    The epoch that is best on validation is kept and tested once. Ctrl-C keeps a checkpoint.

    Examples:
        hyperadapters train --task glue/mrpc --data glue_data --backbone t5-base --output out/mrpc

        hyperadapters train --train a.jsonl --validation b.jsonl --text premise,hypothesis --label label

        hyperadapters train --train chats.jsonl --validation more.jsonl --backbone Qwen/Qwen3-0.6B

        hyperadapters train --task glue/mrpc,glue/rte,glue/cola --method hyperformer++ --backbone t5-base

        hyperadapters train --from out/mix --task scitail --init-task glue/rte --max-train 16 --steps 200
    """
    from hyperadapters.report import terminal_table
    from hyperadapters.run import run

    files = {"train": train, "validation": validation, "test": test}
    limits = {"text.train_rows": max_train, "training.steps": steps}
    settings = [*settings, *(f"{path}={value}" for path, value in limits.items() if value is not None)]
    begun = choose_start(start, init_task, freeze, bool(task or train))
    chosen, place = choose_method(context, method, backbone, begun)
    experiment = plan(chosen, choose_task(task, data, files, text, label, target), place, settings, begun)
    quiet_libraries()
    result = run(experiment, output, resume=resume, track=names_in(track))
    tokens = f"tokens: {result.tokens:,}, with padding {result.padded_tokens:,}"
    value = {**asdict(result), "output": str(output)}
    show(value, json_output, terminal_table([result]), tokens, f"adapter and result: {output}")


@command
def compare(
    methods: Annotated[
        str, typer.Option(help="Names of methods, peft:NAME for one of peft, or `all`.")
    ] = "full,houlsby,compacter,compacter++",
    task: TaskName = "",
    backbone: Backbone = "embedded",
    output: Annotated[Path, typer.Option(help="Folder for the runs, the table and the figure.")] = Path("out/compare"),
    data: DataFolder = "",
    train: TrainFile = "",
    validation: ValidationFile = "",
    test: TestFile = "",
    text: TextColumns = "",
    label: LabelColumn = "",
    target: TargetColumn = "",
    settings: Settings = [],  # noqa: B006 (typer copies it)
    track: Track = "",
    resume: Resume = False,
    json_output: Json = False,
) -> None:
    """Train several methods on one task: one table, one figure.

    Each method uses its own learning rate unless --set training.lr changes it for all. A method's name in place of a
    section changes that method alone.

    Examples:
        hyperadapters compare --methods full,houlsby,compacter++ --task glue/mrpc --data glue_data

        hyperadapters compare --methods compacter++,peft:lora --set compacter++.n=8 --set peft:lora.r=16
    """
    from hyperadapters.methods import METHODS, method_named
    from hyperadapters.report import terminal_table, write_comparison
    from hyperadapters.sweep import run_in_turn

    names = list(METHODS) if methods == "all" else names_in(methods)
    if len(set(names)) != len(names) or not names:
        raise InputError(f"--methods {methods}: name each method once, such as full,houlsby,compacter++.")
    files = {"train": train, "validation": validation, "test": test}
    chosen = choose_task(task, data, files, text, label, target)
    quiet_libraries()
    plans = {name: plan(method_named(name), chosen, backbone, settings_of(name, names, settings)) for name in names}
    results = run_in_turn(plans, output, resume=resume, track=names_in(track))
    paths = write_comparison(results, output)
    where = [f"{name}: {path}" for name, path in paths.items()]
    where += [f"adapters and results: {output}/{{{','.join(names)}}}"]
    value = {"output": str(output), **paths, "results": [asdict(result) for result in results]}
    show(value, json_output, terminal_table(results), *where)


def engine_of(name: str, jobs: int | None, cpus: float, gpus: float | None) -> "Engine":
    """What carries a sweep's runs out."""
    from hyperadapters.cluster import on_ray
    from hyperadapters.engines import on_this_machine

    if name == "ray":
        return on_ray(cpus=cpus, gpus=gpus, most=jobs)
    if cpus != 1 or gpus is not None:
        raise InputError("--cpus and --gpus are shares of a cluster: they go with --engine ray.")
    return on_this_machine(jobs or 1)


ExperimentsFile = Annotated[
    Path, typer.Argument(help="Python file with a function experiments() -> list of Experiment.")
]
SweepFolder = Annotated[Path, typer.Option(help="Folder for the results; several sweeps may share one.")]
Only = Annotated[
    list[str],
    typer.Option(help="Run a part: method=compacter,compacter++, task=glue/mrpc, training.lr=3e-3 … Repeat it."),
]
BackboneOfAll = Annotated[str, typer.Option(help="Use this backbone in all of them.")]
DataOfAll = Annotated[str, typer.Option("--data", help="Folder with the official files, for all of them.")]
EngineName = Annotated[
    Literal["local", "ray"],
    typer.Option(help="Processes of this machine, or tasks of a Ray cluster (RAY_ADDRESS)."),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Runs at a time. local: each in a process, GPUs dealt out in turn [default: 1]; "
        "ray: [default: as many as the cluster has room for].",
    ),
]
CPUs = Annotated[float, typer.Option(help="With ray: CPUs of each run.")]
GPUs = Annotated[float | None, typer.Option(help="With ray: GPUs of each run [default: 1 where the cluster has any].")]
Packing = Annotated[
    Literal["auto", "off"],
    typer.Option(
        help="auto: on this machine, runs that differ in rate, seed, order or training rows alone are trained "
        "together, unless trackers follow them; off: each by itself."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try again what failed for good.")]
KeepAdapters = Annotated[bool, typer.Option("--keep-adapters", help="Keep trained adapters, not results alone.")]


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
    from hyperadapters.forecast import forecast
    from hyperadapters.sweep import chosen, in_words, load_experiments, overridden
    from hyperadapters.sweep import sweep as run_all

    carried_out = engine_of(engine, jobs, cpus, gpus)
    planned = overridden(load_experiments(file), backbone=backbone, data=data, changes=changes(settings))
    planned = chosen(planned, changes(only, "--only", "method=compacter"))
    quiet_libraries()
    if dry_run:
        found = forecast(planned, output, jobs=jobs or 1, retry=retry_failed)
        show(asdict(found), json_output, *forecast_table(found, jobs or 1))
        return
    try:
        swept = run_all(
            planned,
            output,
            engine=carried_out,
            retry=retry_failed,
            keep=keep_adapters,
            track=names_in(track),
            pack=(jobs or 1) if pack == "auto" and engine == "local" else 0,
        )
    except KeyboardInterrupt:
        console.print("stopped; nothing is lost. The same command goes on.")
        raise typer.Exit(130) from None
    value = {"output": str(output), "done": list(swept.results), "failed": swept.failed, "elsewhere": swept.elsewhere}
    show(value, json_output, *in_words(swept, output))
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
    from hyperadapters.backbone import default_device
    from hyperadapters.cost import costs, random_backbone, that_fit
    from hyperadapters.methods import METHODS, method_named

    if precision not in ("fp32", "bf16") or rounds < 1:
        raise InputError(f"--precision {precision} --rounds {rounds}: fp32 or bf16, and one round at least.")
    if not 0 < memory < float("inf"):
        raise InputError(f"--memory {memory}: a number of GB, more than 0.")
    if not all(size.strip().isdecimal() for size in batches.split(",")):
        raise InputError(f"--batches {batches}: numbers with commas, such as 4,8,16.")
    device = default_device()
    sizes = [int(size) for size in batches.split(",")]
    names = list(METHODS) if methods == "all" else names_in(methods)
    chosen, left_out = that_fit(backbone, {name: method_named(name) for name in names})
    if left_out and methods != "all":
        raise InputError("\n  ".join(left_out.values()))
    model = random_backbone(backbone, device)
    how: Any = {"length": length, "precision": precision, "rounds": rounds, "quiet": json_output}
    found = costs(model, chosen, sizes, **how)
    full = next((c for c in found if c.method == "full"), None)
    space = round(memory * 1e9)
    table = cost_table(found, full, space, f"{backbone}, {length} tokens, {precision}, {device.type}")
    rows = [cost_json(c, full, space) for c in found]
    value = {"backbone": backbone, "device": device.type, "memory_gb": memory, "methods": rows, "left_out": left_out}
    show(value, json_output, table, *(f"left out: {name} ({why})" for name, why in left_out.items()))


def cost_json(found: Any, full: Any, memory: int) -> dict[str, Any]:
    """One method's cost for `--json`."""
    from hyperadapters.cost import beside

    return {
        **asdict(found),
        "fixed_bytes": found.line[0],
        "bytes_per_example": found.line[1],
        "saved_bytes_per_example": found.saved_per_row,
        "tokens_per_second": found.tokens_a_second,
        "largest_batch": found.largest_batch(memory),
        "against_full": asdict(beside(found, full)),
    }


def cost_table(found: Any, full: Any, memory: int, title: str) -> Table:
    """Costs for a terminal."""
    from hyperadapters.cost import beside
    from hyperadapters.measure import human_bytes

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
        against = beside(c, full)
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
    from hyperadapters.report import read_results, versions_differ, write_report

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
    rows = [(cost.task, cost.runs, cost.steps, cost.tokens, cost.seconds) for cost in found.costs]
    together = [("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))] if rows else []
    for task, *numbers, seconds in [*rows, *together]:
        table.add_row(task, *(f"{number:,}" for number in numbers), f"{seconds / 3600 / jobs:,.2f}")
    missing = [f"not counted: {task}: {why}" for task, why in found.unknown.items()]
    basis = [f"hours from {basis}" for basis in found.basis]
    last = f"{found.done} done already; hours at {jobs} run(s) at a time, with evaluations, without start and loading"
    failed = (
        [f"{found.failed} failed and are left alone; --retry-failed tries again what failed for good"]
        if found.failed
        else []
    )
    return [*([table] if rows else []), *missing, *basis, *failed, last]


@command
def evaluate(
    adapter: AdapterFolder,
    split: Annotated[str, typer.Option(help="validation or test.")] = "test",
    decode: Annotated[
        str, typer.Option(help="score (likeliest label), generate (as the papers) or auto [default: as in training].")
    ] = "",
    data: Annotated[str, typer.Option(help="The task's files, if no longer where they were in training.")] = "",
    task: OneOfTasks = "",
    backbone: OtherBackbone = "",
    json_output: Json = False,
) -> None:
    """Score a saved adapter again on what its run was trained on, or on one of the tasks that it holds.

    Examples:
        hyperadapters evaluate out/mix

        hyperadapters evaluate out/mix --task mrpc --split validation
    """
    from dataclasses import replace

    from hyperadapters import files, settings
    from hyperadapters.data import tasks_of
    from hyperadapters.evaluate import evaluate as score
    from hyperadapters.experiment import Experiment, MixtureTask, NamedTask, task_name
    from hyperadapters.names import whole_name
    from hyperadapters.run import EXPERIMENT, load_task, of_one_task
    from hyperadapters.store import backbone_of, load, read_config

    if not (adapter / EXPERIMENT).is_file():
        raise InputError(f"{adapter} has no {EXPERIMENT}: name the folder that `hyperadapters train` wrote.")
    config, experiment = read_config(adapter), Experiment.from_json(files.read_json(adapter / EXPERIMENT))
    if task:
        known = config["tasks"] or [task_name(experiment.task)]
        experiment = of_one_task(experiment, whole_name(task, known, f"the adapter at {adapter}"), experiment.method)
    if data and isinstance(experiment.task, NamedTask | MixtureTask):
        experiment = replace(experiment, task=replace(experiment.task, data=data))
    elif data:
        raise InputError(f"--data is a folder of a named task's files; {adapter} was trained on files of its own.")
    quiet_libraries()
    model, tokenizer = backbone_of(config, backbone)
    delta = load(adapter, model)
    rows = load_task(experiment, tokenizer, delta.anatomy.kind)
    how = settings.updated(experiment.evaluation, {"decode": decode} if decode else {}, "evaluation")
    found = score(delta, rows, split, how, quiet=False)
    name = task_name(experiment.task)
    value = {
        "task": name,
        "split": split,
        "metrics": found.metrics,
        "average": found.mean,
        "invalid": found.invalid,
        "decode": found.decode,
        "rows": sum(len(part.splits.get(split, [])) for part in tasks_of(rows)),
        "seconds": found.seconds,
    }
    table = Table(title=f"{name}, {split} split, {value['rows']} rows, {found.decode}", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for what, number in {**found.metrics, "average": found.mean, "invalid answers": found.invalid}.items():
        table.add_row(what, f"{100 * number:.2f}")
    show(value, json_output, table)


@command
def predict(
    adapter: AdapterFolder,
    texts: Annotated[list[str], typer.Argument(help="Texts; for a task of several fields, one for each.")] = [],  # noqa: B006
    file: Annotated[str, typer.Option(help="Rows to answer: JSONL, CSV, TSV or Parquet with the task's columns.")] = "",
    output: Annotated[str, typer.Option(help="JSONL to write; without it, rows go to standard output.")] = "",
    task: OneOfTasks = "",
    backbone: OtherBackbone = "",
    resident: Annotated[int, typer.Option(min=2, help="Adapters of a folder that memory may hold at a time.")] = 256,
    json_output: Json = False,
) -> None:
    """Answer new texts with a saved adapter, or with a folder of them.

    Where ADAPTER holds several tasks, or is a folder with an adapter in each sub-folder, every row of --file names its
    task in the column `task`, a sub-folder's name; a batch mixes tasks, each row with its own adapter.

    Examples:
        hyperadapters predict out/adapter "the king saw the shy monk ." "the shy monk saw the king ."

        hyperadapters predict out/adapter --file in.jsonl --output out.jsonl

        hyperadapters predict out/mix --task demo/sentiment "a dull film"

        hyperadapters predict adapters --file rows.jsonl --output answers.jsonl
    """
    from hyperadapters.predict import Predictor, write_predictions
    from hyperadapters.serve import answering

    if bool(texts) == bool(file):
        raise InputError("give either texts or --file.")
    if output and not file:
        raise InputError("--output goes with --file.")
    if file and json_output and not output:
        raise InputError("--json with --file needs --output: the rows themselves are JSON lines already.")
    if output and not Path(output).absolute().parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {Path(output).absolute().parent}.")
    if output and Path(output).is_dir():
        raise InputError(f"--output {output} is a folder: name a file to write.")
    if file and not Path(file).is_file():
        raise InputError(f"--file {file} does not exist.")
    quiet_libraries()
    predictor = answering(adapter, task=task, backbone=backbone, by_row=bool(file), resident=resident)
    if output:
        start = time.monotonic()
        count = write_predictions(predictor, Path(file), Path(output))
        seconds = time.monotonic() - start
        value: dict[str, Any] = {"rows": count, "output": output, "seconds": seconds}
        counts = {} if isinstance(predictor, Predictor) else dict(predictor.counts)
        value |= {"tasks": counts} if counts else {}
        tables = [tasks_table(counts)] if counts else []
        show(value, json_output, *tables, f"{count:,} rows, {count / seconds:,.1f} a second: {output}")
    elif file:
        for row in predictor.file(Path(file)):
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
    elif isinstance(predictor, Predictor):
        rows = predictor.rows(texts)
        answers = predictor(rows)
        show({"predictions": answers}, json_output, *answers)
    if predictor.truncated:
        console.print(f"{predictor.truncated} text(s) longer than {predictor.limit}, were cut")


def tasks_table(counts: dict[str, int]) -> Table:
    """Rows answered by task, the most first."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    table = Table(title=f"{len(counts):,} task(s)", title_justify="left")
    table.add_column("task")
    table.add_column("rows", justify="right")
    for name, number in most[:20]:
        table.add_row(name, f"{number:,}")
    if most[20:]:
        table.add_row(f"{len(most) - 20:,} more", f"{sum(number for _, number in most[20:]):,}")
    return table


@command
def bake(
    adapter: AdapterFolder,
    task: Annotated[str, typer.Option(help="One of the adapter's tasks.")],
    output: Annotated[Path, typer.Option(help="Folder for the new adapter; new or empty.")],
    backbone: OtherBackbone = "",
    json_output: Json = False,
) -> None:
    """Write one task of an adapter that holds several as a plain adapter, with the same answers.

    Example:
        hyperadapters bake out/mix --task demo/sentiment --output out/sentiment
    """
    from hyperadapters import files
    from hyperadapters.experiment import Experiment, task_name
    from hyperadapters.measure import human_bytes
    from hyperadapters.names import whole_name
    from hyperadapters.run import EXPERIMENT, of_one_task
    from hyperadapters.store import backbone_of, load, read_config
    from hyperadapters.tasks import TASKS

    files.check_output(output, resume=False)
    config = read_config(adapter)
    whole = whole_name(task, config["tasks"], f"the adapter at {adapter}")
    known = files.read_json(adapter / EXPERIMENT) if (adapter / EXPERIMENT).is_file() else None
    trained = Experiment.from_json(known) if known else None
    quiet_libraries()
    model, _ = backbone_of(config, backbone)
    several = load(adapter, model, name="several tasks")
    plain = several.bake(whole)
    plain.save(output)
    if trained and (whole in TASKS or whole == task_name(trained.task)):  # what `evaluate` needs to know of its rows
        files.write_json(output / EXPERIMENT, of_one_task(trained, whole, plain.method).to_json())
    value = {"output": str(output), "task": task, "method": type(plain.method).__name__, "bytes": plain.bytes()}
    show(value, json_output, f"{value['method']}, {human_bytes(plain.bytes())}: {output}")


@command
def info(adapter: AdapterFolder, json_output: Json = False) -> None:
    """Say what a saved adapter is: method, task, scores, size, backbone."""
    from hyperadapters.card import task_in_words
    from hyperadapters.methods import method_from_json
    from hyperadapters.store import read_config

    config = read_config(adapter)
    method_from_json(config["method"])
    table = Table(title=f"{config['name']} ({adapter})", title_justify="left", show_header=False)
    method = dict(config["method"])
    rows = {
        "method": method.pop("type"),
        **{f"  {key}": str(value) for key, value in method.items()},
        "task": task_in_words(config),
        **{
            f"{split} scores": ", ".join(f"{k} {100 * v:.2f}" for k, v in found.items())
            for split, found in config.get("scores", {}).items()
        },
        "trained parameters": f"{config.get('trained', 0):,}",
        "size": f"{config.get('bytes', 0):,} bytes",
        "backbone": f"{config['backbone']['name']} (weights {config['backbone']['weights'][:12]})",
        "made with": ", ".join(f"{name} {version}" for name, version in config.get("versions", {}).items()),
    }
    for key, value in rows.items():
        table.add_row(key, value)
    show(config, json_output, table)


@command
def methods(json_output: Json = False) -> None:
    """List the methods, what each is, and its settings."""
    from hyperadapters import settings
    from hyperadapters.methods import METHODS
    from hyperadapters.methods.method import method_to_json

    table = Table("method", "what it is", "settings (--set method.KEY=VALUE)", title_justify="left")
    for name, method in METHODS.items():
        values = ", ".join(f"{key}={_short(value)}" for key, value in settings.dump(method).items())
        table.add_row(name, (type(method).__doc__ or "").split("\n")[0], values)
    show({name: method_to_json(method) for name, method in METHODS.items()}, json_output, table)


def _short(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)


@command
def tasks(json_output: Json = False) -> None:
    """List the tasks, their text, their metrics, and where one is not the benchmark's own."""
    from hyperadapters.tasks import TASKS

    table = Table(title_justify="left")
    table.add_column("task", no_wrap=True)
    for column in ("source", "answers", "metrics", "note"):
        table.add_column(column)
    value = {}
    for name, task in TASKS.items():
        measured = [metric.__name__ for metric in task.metrics]
        source = " ".join(f"{field}: …" for field in task.form.fields)
        table.add_row(name, source, task.form.target.expected(), ", ".join(measured), task.description)
        value[name] = {**task.form.to_json(), "metrics": measured, "description": task.description}
    show(value, json_output, table)


@command
def count(
    context: typer.Context,
    method: MethodName = "compacter++",
    backbone: Annotated[str, typer.Option(help="A folder, a config.json, a name on the Hub, or `embedded`.")] = (
        "embedded"
    ),
    tasks: Annotated[int, typer.Option(min=1, help="Tasks that one model holds.")] = 1,
    paper: Annotated[
        bool, typer.Option("--paper", help="The papers' own tables instead: our counts beside what they print.")
    ] = False,
    settings: Settings = [],  # noqa: B006 (typer copies it)
    json_output: Json = False,
) -> None:
    """Count what a method trains, from the backbone's config alone.

    Examples:
        hyperadapters count --backbone t5-base --method compacter --set method.n=8

        hyperadapters count --backbone t5-base --method hyperformer++ --tasks 8

        hyperadapters count --paper
    """
    if paper:
        options = {"method": "--method", "backbone": "--backbone", "tasks": "--tasks", "settings": "--set"}
        given = [option for name, option in options.items() if was_given(context, name)]
        if given:
            raise InputError(f"--paper counts the papers' own methods and backbones: leave out {', '.join(given)}.")
        count_papers(json_output)
        return
    from hyperadapters.measure import human_bytes, parameters_of
    from hyperadapters.methods import method_named

    chosen = method_named(method)
    wanted = changes(settings)
    other = [path for path in wanted if not path.startswith("method.")]
    if other:
        known = ", ".join(f"method.{field.name}" for field in fields(chosen))  # type: ignore[arg-type]
        raise InputError(f"--set {other[0]}: only the method's settings count here: {known or 'it has none'}.")
    chosen = chosen.changed({path.removeprefix("method."): value for path, value in wanted.items()})
    found = parameters_of(backbone, chosen, tasks)
    table = Table(title=f"{method} on {backbone}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for kind, number in found.by_kind.items():
        table.add_row(kind, f"{number:,}")
    table.add_row("trained", f"{found.trained:,}", style="bold")
    table.add_row("backbone", f"{found.total:,}")
    table.add_row("percent", f"{found.percent:.3f}")
    if tasks > 1:
        table.add_row(f"percent a task, of {tasks}", f"{found.percent / tasks:.3f}")
    table.add_row("adapter on disk", human_bytes(found.bytes))
    value = {"method": method, "backbone": backbone, "tasks": tasks, **asdict(found), "percent": found.percent}
    show(value, json_output, table)


def count_papers(json_output: bool) -> None:
    """Print the papers' tables of parameters as we count them."""
    from hyperadapters.papers import lines

    tables: dict[str, Table] = {}
    found = list(lines())
    for line in found:
        title = f"{line.table}, {line.backbone}"
        if title not in tables:
            tables[title] = table = Table(title=title, title_justify="left")
            for name in ("method", "trained", "%", "paper's %", "", "total", "stored"):
                table.add_column(name, justify="left" if name == "method" else "right")
        words = " ".join([line.method, *(f"{key}={_short(value)}" for key, value in line.changes.items())])
        printed = "–" if line.printed is None else f"{line.printed:.3f}"
        mark = "≠" if line.differs else ""
        totals = (f"{line.total:.3f}×", f"{line.stored:.3f}×")
        tables[title].add_row(words, f"{line.trained:,}", f"{line.percent:.3f}", printed, mark, *totals)
    legend = "total: backbone and all tasks' additions as the papers count, stored: with the norms each task needs too"
    show({"rows": [{**asdict(line), "differs": line.differs} for line in found]}, json_output, *tables.values(), legend)


def main() -> None:
    """The entry point."""
    app()


if __name__ == "__main__":
    main()
