"""Commands that train: train, compare."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hyperadapters._utils import InputError
from hyperadapters.cli.base import command, quiet_libraries, show
from hyperadapters.cli.options import (
    Backbone,
    DataFolder,
    Freeze,
    InitTask,
    Json,
    LabelColumn,
    MaxTrain,
    MethodName,
    Resume,
    Settings,
    StartFolder,
    Steps,
    TargetColumn,
    TaskName,
    TestFile,
    TextColumns,
    Track,
    TrainFile,
    ValidationFile,
)
from hyperadapters.cli.planning import choose_method, choose_start, choose_task, names_in, plan, settings_of


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
    from hyperadapters.reports import terminal_table
    from hyperadapters.runs import run

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
    from hyperadapters.reports import terminal_table, write_comparison
    from hyperadapters.sweeps import run_in_turn

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
