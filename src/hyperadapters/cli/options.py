"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

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
