"""Commands on a saved adapter: predict, bake, info."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from hyperadapters._utils import InputError, console, shown_metric
from hyperadapters.cli.base import _command, _print_json, _quiet_libraries, _show
from hyperadapters.cli.options import _Columns, _Encoding, _Json, _OneOfTasks, _OtherBackbone, _SavedAdapter
from hyperadapters.cli.task_options import _check_file, _reading_of_file

_SHOWN = 40
"""Characters of a text that stand above its column."""

if TYPE_CHECKING:
    from hyperadapters.server import ServerPredictor
    from hyperadapters.serving import Predictor
    from hyperadapters.tasks import Reading


@_command("Use a saved adapter")
def predict(
    adapter: Annotated[
        str,
        typer.Argument(
            help="Folder of a saved adapter or of several, or user/name[@revision] on the Hub; with --server, what the "
            "server calls the adapter, or nothing where every row of --file names its own.",
            show_default=False,
        ),
    ] = "",
    texts: Annotated[
        list[str], typer.Argument(help="Texts to answer; if the task has several fields, one text for each field.")
    ] = [],  # noqa: B006
    file: Annotated[
        str, typer.Option(help="File of rows to answer: JSONL, CSV, TSV or Parquet with the task's columns.")
    ] = "",
    output: Annotated[
        str,
        typer.Option(
            help="File to write the rows and their answers to: JSONL, CSV or TSV; default: JSONL to standard output."
        ),
    ] = "",
    scores: Annotated[bool, typer.Option("--scores", help="Give the probability of every label too.")] = False,
    top: Annotated[
        int | None, typer.Option(min=1, help="Give the so many likeliest labels with their probabilities.")
    ] = None,
    all_tasks: Annotated[
        bool,
        typer.Option(
            "--all-tasks",
            help="Let every task of the folder answer each text. What lies below the lowest trained module is computed "
            "once for all: beside the backbone (method side) the whole of it.",
        ),
    ] = False,
    columns: _Columns = "",
    encoding: _Encoding = "utf-8",
    task: _OneOfTasks = "",
    backbone: _OtherBackbone = "",
    resident: Annotated[
        int, typer.Option(min=2, help="How many adapters of a folder to hold in memory at a time.")
    ] = 256,
    server: Annotated[
        str, typer.Option(help="Address of a server that answers, such as http://localhost:8000.", show_default=False)
    ] = "",
    api_key: Annotated[
        str, typer.Option(envvar="HYPERADAPTERS_API_KEY", help="With --server: its key.", show_default=False)
    ] = "",
    json_output: _Json = False,
) -> None:
    """Answer new texts with a saved adapter, or with a folder of them.

    If the adapter holds several tasks, every row of --file names one of them in the column `task`. If the folder holds
    an adapter in each of its sub-folders, the column `task` names the sub-folder. A batch may mix tasks.

    Probabilities are those of classes: an encoder's softmax, or that over the label strings of a text model. The answer
    is then the likeliest label. Where a row has any number of labels, an encoder gives each its own probability, and
    the answer is those of 1/2 or more.

    Examples:
    - `hyperadapters predict out/adapter "the king saw the shy monk ." "the shy monk saw the king ."`
    - `hyperadapters predict out/adapter --file in.jsonl --output out.jsonl`
    - `hyperadapters predict out/mix --task demo/sentiment "a dull film" --scores`
    - `hyperadapters predict out/intents --file in.jsonl --top 3`
    - `hyperadapters predict adapters --file rows.jsonl --output answers.jsonl`
    - `hyperadapters predict adapters "the plot is thin , the songs are not" --all-tasks`
    - `hyperadapters predict --server http://localhost:8000 --file rows.jsonl --output answers.jsonl`
    - `hyperadapters predict --server http://localhost:8000 --file rows.jsonl --all-tasks`
    """
    _check_predict(adapter, texts, file, output, json_output, server, all_tasks=all_tasks)
    _check_all_tasks(all_tasks, task, scored=scores or top is not None)
    reading = _reading_of_file(file, columns, encoding)
    from hyperadapters.serving import Fan, as_json, open_predictor

    most = top or (None if scores else 0)
    predictor: Any
    if server:
        from hyperadapters.server import ServerFan, ServerPredictor

        _check_server(task, backbone)
        predictor = (ServerFan if all_tasks else ServerPredictor)(server, adapter, api_key=api_key)
    else:
        _quiet_libraries()
        where: dict[str, Any] = {"backbone": backbone, "resident": resident}
        predictor = (
            Fan(adapter, **where)
            if all_tasks
            else open_predictor(adapter, task=task, by_row=bool(file), scored=most != 0, **where)
        )
    if output:
        _write_answers(predictor, Path(file), Path(output), most, reading, json_output)
    elif file:
        for row in predictor.file(Path(file), top=most, reading=reading):
            _print_json(as_json(row))
    elif all_tasks:
        _show_all_answers(texts, predictor(texts), json_output)
    else:
        _show_answers(predictor, texts, most, json_output)
    if predictor.truncated:
        console.print(f"{predictor.truncated} text(s) longer than {predictor.limit}, were cut")


def _write_answers(
    predictor: Any, file: Path, output: Path, top: int | None, reading: "Reading", json_output: bool
) -> None:
    """Write the rows of a file with their answers, and print how many there were and how fast."""
    from hyperadapters.serving import write_predictions

    start = time.monotonic()
    count = write_predictions(predictor, file, output, top=top, reading=reading)
    seconds = time.monotonic() - start
    counts = dict(getattr(predictor, "counts", {}))
    value = {"rows": count, "output": str(output), "seconds": seconds, **({"tasks": counts} if counts else {})}
    done = f"{count:,} rows, {count / seconds:,.1f} a second: {output}"
    if _is_standard_output(output):
        console.print(done)  # the rows stand there, and nothing else
    else:
        _show(value, json_output, *([_tasks_table(counts)] if counts else []), done)


def _in_words(answer: Any) -> str:
    """Return an answer as one line: a text as it is, a number or a list as JSON."""
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _show_answers(
    predictor: "Predictor | ServerPredictor", texts: list[str], top: int | None, json_output: bool
) -> None:
    """Print the answers to texts and, unless `top` is 0, the labels with their probabilities behind each."""
    rows = predictor.rows(texts)
    if top == 0:
        answers = predictor(rows)
        _show({"predictions": answers}, json_output, *map(_in_words, answers))
        return
    found = predictor.scored(rows, top)
    lines = [", ".join(f"{label} {share:.4f}" for label, share in one.scores.items()) for one in found]
    value = {"predictions": [one.prediction for one in found], "scores": [one.scores for one in found]}
    _show(value, json_output, *lines)


def _show_all_answers(texts: list[str], answers: list[dict[str, Any]], json_output: bool) -> None:
    """Print what each task answers to each text."""
    table = Table()
    table.add_column("task", no_wrap=True)
    for number, text in enumerate(texts, 1):
        table.add_column(text if len(text) <= _SHOWN else f"{number}: {text[: _SHOWN - 1]}…", overflow="fold")
    for task in answers[0]:
        table.add_row(task, *(_in_words(own[task]) for own in answers))
    _show({"predictions": answers}, json_output, table)


def _check_all_tasks(all_tasks: bool, task: str, *, scored: bool) -> None:
    """Raise InputError if options are given that do not go with --all-tasks."""
    others = [name for name, given in (("--task", task), ("--scores or --top", scored)) if given]
    if all_tasks and others:
        raise InputError(f"--all-tasks does not go with {', '.join(others)}.")


def _check_server(task: str, backbone: str) -> None:
    """Raise InputError if options are given that a server decides."""
    if task:
        raise InputError(f"--task {task}: with --server, the adapter's name has the task's, such as mix/{task}.")
    if backbone:
        raise InputError("--backbone: the server has one.")


def _check_predict(
    adapter: str, texts: list[str], file: str, output: str, json_output: bool, server: str, *, all_tasks: bool
) -> None:
    """Raise InputError if the options of `predict` do not go together, or name files and folders that are not there."""
    if bool(texts) == bool(file):
        raise InputError("give either texts or --file.")
    if output and not file:
        raise InputError("--output goes with --file.")
    if file and json_output and not output:
        raise InputError("--json with --file needs --output: the rows themselves are JSON lines already.")
    if output:
        from hyperadapters.serving import check_prediction_file

        check_prediction_file(Path(file), Path(output))
    if file:
        _check_file(file)
    if not adapter and not (server and (file or all_tasks)):
        raise InputError(
            "name an adapter" + (" of the server." if server else ": its folder, or user/name on the Hub.")
        )
    if server:
        return
    if (
        "/" not in adapter and not Path(adapter).is_dir()
    ):  # no name on the Hub; `locate_adapter` takes seconds to import
        raise InputError(f"there is no adapter at {adapter}: no such folder.")


def _is_standard_output(path: Path) -> bool:
    """Return whether a path names what standard output is connected to, such as /dev/stdout."""
    try:
        return path.samefile("/dev/stdout")
    except OSError:
        return False


def _tasks_table(counts: dict[str, int]) -> Table:
    """Return how many rows of each task were answered, the most first."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    table = Table(title=f"{len(counts):,} task(s)", title_justify="left")
    table.add_column("task", no_wrap=True)
    table.add_column("rows", justify="right")
    for name, number in most[:20]:
        table.add_row(name, f"{number:,}")
    if most[20:]:
        table.add_row(f"{len(most) - 20:,} more", f"{sum(number for _, number in most[20:]):,}")
    return table


@_command("Use a saved adapter")
def bake(
    adapter: _SavedAdapter,
    task: Annotated[str, typer.Option(help="Which of the adapter's tasks.")],
    output: Annotated[Path, typer.Option(help="Folder for the new adapter; new or empty.")],
    backbone: _OtherBackbone = "",
    json_output: _Json = False,
) -> None:
    """Write one task of an adapter that holds several as an adapter of its own, with the same answers.

    Example:
    - `hyperadapters bake out/mix --task demo/sentiment --output out/sentiment`
    """
    from hyperadapters._utils import check_output, human_bytes, read_json, resolve_task, write_json
    from hyperadapters.methods import count_parameters
    from hyperadapters.runs import EXPERIMENT, Experiment, entries_of, task_name
    from hyperadapters.storage import backbone_of, load, locate_adapter, read_config
    from hyperadapters.tasks import TASKS

    check_output(output, resume=False)
    folder = locate_adapter(adapter)
    config = read_config(folder)
    whole = resolve_task(task, config["tasks"], f"the adapter at {adapter}")
    known = read_json(folder / EXPERIMENT) if (folder / EXPERIMENT).is_file() else None
    trained = Experiment.from_json(known) if known else None
    _quiet_libraries()
    model, _ = backbone_of(config, backbone)
    several = load(folder, model, name="several tasks")
    plain = several.bake(whole)
    plain.save(output)
    described = trained and (whole in TASKS or whole in map(task_name, entries_of(trained.task)))
    if trained and described:  # what `evaluate` needs to know of its rows
        from hyperadapters.runs import narrow_to_task

        write_json(output / EXPERIMENT, narrow_to_task(trained, whole, plain.method).to_json())
    size = count_parameters(plain).bytes
    value = {
        "output": str(output),
        "task": task,
        "method": type(plain.method).__name__,
        "bytes": size,
    }
    _show(value, json_output, f"{value['method']}, {human_bytes(size)}: {output}")


@_command("Use a saved adapter")
def info(adapter: _SavedAdapter, json_output: _Json = False) -> None:
    """Show what a saved adapter is: method, task, scores, size, backbone."""
    from hyperadapters.delta import task_in_words
    from hyperadapters.methods import method_from_json
    from hyperadapters.storage import read_config

    config = read_config(adapter)
    method_from_json(config["method"])
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    method = dict(config["method"])
    rows = {
        "method": method.pop("type"),
        **{f"  {key}": str(value) for key, value in method.items()},
        "task": task_in_words(config),
        **{
            f"{split} scores": ", ".join(f"{name} {shown_metric(name, value)}" for name, value in found.items())
            for split, found in config.get("scores", {}).items()
        },
        "trained parameters": f"{config.get('trained', 0):,}",
        "size": f"{config.get('bytes', 0):,} bytes",
        "backbone": f"{config['backbone']['name']} (weights {config['backbone']['weights'][:12]})",
        "made with": ", ".join(f"{name} {version}" for name, version in config.get("versions", {}).items()),
    }
    for key, value in rows.items():
        table.add_row(key, value)
    _show(config, json_output, f"{config['name']} ({adapter})", table)
