"""Commands on a saved adapter: evaluate, predict, bake, info."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from hyperadapters._utils import InputError, console
from hyperadapters.cli.base import command, quiet_libraries, show
from hyperadapters.cli.options import AdapterFolder, Json, OneOfTasks, OtherBackbone


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

    from hyperadapters._utils import files, resolve_task, settings
    from hyperadapters.runs import EXPERIMENT, Experiment, MixtureTask, NamedTask, load_task, narrow_to_task, task_name
    from hyperadapters.storage import backbone_of, load, read_config
    from hyperadapters.training import evaluate as score
    from hyperadapters.training import tasks_of

    if not (adapter / EXPERIMENT).is_file():
        raise InputError(f"{adapter} has no {EXPERIMENT}: name the folder that `hyperadapters train` wrote.")
    config, experiment = read_config(adapter), Experiment.from_json(files.read_json(adapter / EXPERIMENT))
    if task:
        known = config["tasks"] or [task_name(experiment.task)]
        experiment = narrow_to_task(
            experiment, resolve_task(task, known, f"the adapter at {adapter}"), experiment.method
        )
    if data and isinstance(experiment.task, NamedTask | MixtureTask):
        experiment = replace(experiment, task=replace(experiment.task, data=data))
    elif data:
        raise InputError(f"--data is a folder of a named task's files; {adapter} was trained on files of its own.")
    quiet_libraries()
    model, tokenizer = backbone_of(config, backbone)
    delta = load(adapter, model)
    rows = load_task(experiment, tokenizer, model)
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
    from hyperadapters.serving import Predictor, open_predictor, write_predictions

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
    predictor = open_predictor(adapter, task=task, backbone=backbone, by_row=bool(file), resident=resident)
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
    from hyperadapters._utils import files, human_bytes, resolve_task
    from hyperadapters.methods import count_parameters
    from hyperadapters.runs import EXPERIMENT, Experiment, narrow_to_task, task_name
    from hyperadapters.storage import backbone_of, load, read_config
    from hyperadapters.tasks import TASKS

    files.check_output(output, resume=False)
    config = read_config(adapter)
    whole = resolve_task(task, config["tasks"], f"the adapter at {adapter}")
    known = files.read_json(adapter / EXPERIMENT) if (adapter / EXPERIMENT).is_file() else None
    trained = Experiment.from_json(known) if known else None
    quiet_libraries()
    model, _ = backbone_of(config, backbone)
    several = load(adapter, model, name="several tasks")
    plain = several.bake(whole)
    plain.save(output)
    if trained and (whole in TASKS or whole == task_name(trained.task)):  # what `evaluate` needs to know of its rows
        files.write_json(output / EXPERIMENT, narrow_to_task(trained, whole, plain.method).to_json())
    value = {
        "output": str(output),
        "task": task,
        "method": type(plain.method).__name__,
        "bytes": count_parameters(plain).bytes,
    }
    show(value, json_output, f"{value['method']}, {human_bytes(count_parameters(plain).bytes)}: {output}")


@command
def info(adapter: AdapterFolder, json_output: Json = False) -> None:
    """Say what a saved adapter is: method, task, scores, size, backbone."""
    from hyperadapters.delta import task_in_words
    from hyperadapters.methods import method_from_json
    from hyperadapters.storage import read_config

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
