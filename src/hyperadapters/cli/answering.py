"""Commands on a saved adapter: evaluate, predict, bake, info."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from hyperadapters._utils import InputError, console, metric_scale, shown_metric
from hyperadapters.cli.base import _command, _print_json, _quiet_libraries, _show
from hyperadapters.cli.file_scoring import _score_file
from hyperadapters.cli.options import _AdapterFolder, _Json, _OneOfTasks, _OtherBackbone

if TYPE_CHECKING:
    from hyperadapters.runs import Experiment
    from hyperadapters.serving import Predictor
    from hyperadapters.training import Scores


@_command("Use a saved adapter")
def evaluate(
    adapter: _AdapterFolder,
    split: Annotated[
        str,
        typer.Option(
            help="Which rows to score: train, validation or test; default: test or, where there is none, validation."
        ),
    ] = "",
    decode: Annotated[
        str,
        typer.Option(
            help="How to answer: score (likeliest label), generate (as the papers) or auto; default: as in training."
        ),
    ] = "",
    data: Annotated[
        str,
        typer.Option(help="Folder with the same files, if they no longer lie where they did in training."),
    ] = "",
    file: Annotated[
        str,
        typer.Option(help="Score the rows of this file instead: any with the task's columns and answers."),
    ] = "",
    label: Annotated[
        str, typer.Option(help="With --file: the column of the answers, if it is called otherwise than in training.")
    ] = "",
    metric: Annotated[
        str, typer.Option(help="Another metric, or MODULE:FUNCTION of your own, as `train --metric` takes it.")
    ] = "",
    task: _OneOfTasks = "",
    backbone: _OtherBackbone = "",
    json_output: _Json = False,
) -> None:
    """Score a saved adapter again, on the tasks it was trained on or on one of those that it holds; or on a new file.

    The files are those of the training: where their checksums differ, nothing is scored. A file of --file may be any;
    the adapter's folder alone is needed for it.

    Examples:
    - `hyperadapters evaluate out/mix`
    - `hyperadapters evaluate out/mix --task mrpc --split validation`
    - `hyperadapters evaluate out/adapter --file new.jsonl --label verdict`
    """
    from hyperadapters._utils import settings
    from hyperadapters.storage import backbone_of, load, read_config

    _check_evaluate(split, data, file, label)
    config = read_config(adapter)
    if file:
        name, found, count = _score_file(
            adapter, config, file, label, task, decode, _metric_to_compute(metric, ""), backbone
        )
        _show_scores(found, name, "", file, count, json_output)
        return
    experiment = _experiment_to_score(adapter, config, task)
    how = settings.updated(experiment.evaluation, {"decode": decode} if decode else {}, "evaluation")
    how = replace(how, metric=_metric_to_compute(metric, how.metric))
    scored = split or ("test" if getattr(experiment.task, "test", True) else "validation")
    experiment = _with_places(experiment, adapter, scored, data)
    from hyperadapters.runs import load_task, task_name
    from hyperadapters.training import evaluate as score
    from hyperadapters.training import tasks_of

    _quiet_libraries()
    model, tokenizer = backbone_of(config, backbone)
    delta = load(adapter, model)
    rows = load_task(experiment, tokenizer, model)
    if not split and scored != "test":
        console.print("there is no test split: validation is scored")
    found = score(delta, rows, scored, how, quiet=False)
    count = sum(len(part.splits.get(scored, [])) for part in tasks_of(rows))
    _show_scores(found, task_name(experiment.task), scored, "", count, json_output)


def _check_evaluate(split: str, data: str, file: str, label: str) -> None:
    """Raise InputError if the options of `evaluate` do not go together, or name what is not there."""
    if split not in ("", "train", "validation", "test"):
        raise InputError(f"--split {split}: one of train, validation, test.")
    if data and not Path(data).is_dir():
        raise InputError(f"--data {data}: there is no such folder.")
    both = [f"--{name}" for name, value in {"split": split, "data": data}.items() if value and file]
    if both:
        raise InputError(f"--file names the rows to score: leave out {' and '.join(both)}.")
    if label and not file:
        raise InputError("--label goes with --file.")
    if file and not Path(file).is_file():
        raise InputError(f"--file {file} does not exist (looked in {Path.cwd()}).")


def _experiment_to_score(adapter: Path, config: Mapping[str, Any], task: str) -> "Experiment":
    """Return the experiment of the run that trained an adapter, or what it says of one of the adapter's tasks.

    Args:
        adapter: the adapter's folder.
        config: its `adapter_config.json`.
        task: which task; empty: all.

    Raises:
        InputError: there is no such task, or no run trained the adapter.
    """
    from hyperadapters._utils import read_json, resolve_task
    from hyperadapters.runs import EXPERIMENT, Experiment, narrow_to_task, task_name

    if not (adapter / EXPERIMENT).is_file():
        raise InputError(
            f"{adapter} has no {EXPERIMENT}, so which rows it was trained on is not known. Name the folder that "
            "`hyperadapters train` wrote, or give rows to score with --file."
        )
    experiment = Experiment.from_json(read_json(adapter / EXPERIMENT))
    if not task:
        return experiment
    known = config["tasks"] or [task_name(experiment.task)]
    return narrow_to_task(experiment, resolve_task(task, known, f"the adapter at {adapter}"), experiment.method)


def _metric_to_compute(asked: str, saved: str) -> str:
    """Return the metric to compute besides the task's own: the one asked for, or the one that the run chose by.

    A function of the user's own is imported only if it is asked for here: the run's file could name anything.

    Args:
        asked: of the command line; may be empty.
        saved: of the run's file; may be empty.

    Raises:
        InputError: there is no such function.
    """
    from hyperadapters.tasks import allow_metric

    if ":" in asked:
        allow_metric(asked)
    if not asked and ":" in saved:
        console.print(f"not computed: {saved}, by which the run chose its weights; give --metric {saved} to import it")
        return ""
    return asked or saved


def _with_places(experiment: "Experiment", adapter: Path, split: str, data: str) -> "Experiment":
    """Return an experiment whose files lie where the options say, and are those that the adapter was trained on.

    Args:
        experiment: of the run that trained the adapter.
        adapter: the adapter's folder, for errors.
        split: which rows are to be scored.
        data: the folder of the files; empty: where they were.

    Raises:
        InputError: a file or folder is not there, or the rows or labels are not those of the training.
    """
    from hyperadapters.runs import (
        FilesTask,
        InstructionsTask,
        changed_data,
        deciding_checksums,
        moved_to,
        without_checksums,
    )

    task = moved_to(experiment.task, data) if data else experiment.task
    own = isinstance(task, FilesTask | InstructionsTask)
    changed = changed_data(task)
    deciding = deciding_checksums(task, split)
    wrong = {name: what for name, what in changed.items() if name in deciding}
    if wrong:
        hint = "Put them back, or name the folder that holds them with --data"
        hint += ", or other rows to score with --file." if own else "."
        raise InputError("the data are not those of the training:\n  " + "\n  ".join([*wrong.values(), hint]))
    for what in changed.values():
        console.print(f"changed since the training, and not scored: {what}", soft_wrap=True)
    return replace(experiment, task=without_checksums(task, changed))


def _show_scores(found: "Scores", task: str, split: str, file: str, rows: int, json_output: bool) -> None:
    """Print how an adapter scored.

    Args:
        found: its scores.
        task: the task's name.
        split: which rows were scored; empty: those of a file.
        file: its path.
        rows: how many there were.
        json_output: as JSON.
    """
    value = {
        "task": task,
        "split": split or None,
        "file": file or None,
        "metrics": found.metrics,
        "average": found.mean,
        "invalid": found.invalid,
        "decode": found.decode,
        "rows": rows,
        "seconds": found.seconds,
    }
    table = Table()
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right")
    for name, number in found.metrics.items():
        table.add_row(name, shown_metric(name, number))
    shares = all(metric_scale(name).share for name in found.chosen_by)
    average = {"average": found.mean} if shares else {}  # of an error it would be the error with the other sign
    for what, number in {**average, "invalid answers": found.invalid}.items():
        table.add_row(what, f"{100 * number:.2f}")
    _show(value, json_output, f"{task}, {file or f'{split} split'}, {rows} rows, {found.decode}", table)


@_command("Use a saved adapter")
def predict(
    adapter: _AdapterFolder,
    texts: Annotated[
        list[str], typer.Argument(help="Texts to answer; if the task has several fields, one text for each field.")
    ] = [],  # noqa: B006
    file: Annotated[
        str, typer.Option(help="File of rows to answer: JSONL, CSV, TSV or Parquet with the task's columns.")
    ] = "",
    output: Annotated[
        str, typer.Option(help="JSONL file to write the rows and their answers to; default: standard output.")
    ] = "",
    scores: Annotated[bool, typer.Option("--scores", help="Give the probability of every label too.")] = False,
    top: Annotated[
        int | None, typer.Option(min=1, help="Give the so many likeliest labels with their probabilities.")
    ] = None,
    task: _OneOfTasks = "",
    backbone: _OtherBackbone = "",
    resident: Annotated[
        int, typer.Option(min=2, help="How many adapters of a folder to hold in memory at a time.")
    ] = 256,
    json_output: _Json = False,
) -> None:
    """Answer new texts with a saved adapter, or with a folder of them.

    If the adapter holds several tasks, every row of --file names one of them in the column `task`. If the folder holds
    an adapter in each of its sub-folders, the column `task` names the sub-folder. A batch may mix tasks.

    Probabilities are those of classes: an encoder's softmax, or that over the label strings of a text model. The answer
    is then the likeliest label.

    Examples:
    - `hyperadapters predict out/adapter "the king saw the shy monk ." "the shy monk saw the king ."`
    - `hyperadapters predict out/adapter --file in.jsonl --output out.jsonl`
    - `hyperadapters predict out/mix --task demo/sentiment "a dull film" --scores`
    - `hyperadapters predict out/intents --file in.jsonl --top 3`
    - `hyperadapters predict adapters --file rows.jsonl --output answers.jsonl`
    """
    _check_predict(adapter, texts, file, output, json_output)
    from hyperadapters.serving import Predictor, as_json, open_predictor, write_predictions

    _quiet_libraries()
    most = top or (None if scores else 0)
    where: dict[str, Any] = {"task": task, "backbone": backbone, "resident": resident}
    predictor = open_predictor(adapter, **where, by_row=bool(file), scored=most != 0)
    if output:
        start = time.monotonic()
        count = write_predictions(predictor, Path(file), Path(output), top=most)
        seconds = time.monotonic() - start
        value: dict[str, Any] = {"rows": count, "output": output, "seconds": seconds}
        counts = {} if isinstance(predictor, Predictor) else dict(predictor.counts)
        value |= {"tasks": counts} if counts else {}
        tables = [_tasks_table(counts)] if counts else []
        done = f"{count:,} rows, {count / seconds:,.1f} a second: {output}"
        if _is_standard_output(Path(output)):
            console.print(done)  # the rows stand there, and nothing else
        else:
            _show(value, json_output, *tables, done)
    elif file:
        for row in predictor.file(Path(file), top=most):
            _print_json(as_json(row))
    elif isinstance(predictor, Predictor):
        _show_answers(predictor, texts, most, json_output)
    if predictor.truncated:
        console.print(f"{predictor.truncated} text(s) longer than {predictor.limit}, were cut")


def _in_words(answer: Any) -> str:
    """Return an answer as one line: a text as it is, a number or a list as JSON."""
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


def _show_answers(predictor: "Predictor", texts: list[str], top: int | None, json_output: bool) -> None:
    """Print the answers to texts and, unless `top` is 0, the labels with their probabilities behind each."""
    rows = predictor.rows(texts)
    if top == 0:
        answers = predictor(rows)
        _show({"predictions": answers}, json_output, *map(_in_words, answers))
        return
    found = predictor.probabilities(rows, top)
    answers = [next(iter(labels)) for labels in found]
    lines = [", ".join(f"{label} {share:.4f}" for label, share in labels.items()) for labels in found]
    _show({"predictions": answers, "scores": found}, json_output, *lines)


def _check_predict(adapter: Path, texts: list[str], file: str, output: str, json_output: bool) -> None:
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
    if file and not Path(file).is_file():
        raise InputError(f"--file {file} does not exist.")
    if not adapter.is_dir():
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
    adapter: _AdapterFolder,
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
    from hyperadapters.storage import backbone_of, load, read_config
    from hyperadapters.tasks import TASKS

    check_output(output, resume=False)
    config = read_config(adapter)
    whole = resolve_task(task, config["tasks"], f"the adapter at {adapter}")
    known = read_json(adapter / EXPERIMENT) if (adapter / EXPERIMENT).is_file() else None
    trained = Experiment.from_json(known) if known else None
    _quiet_libraries()
    model, _ = backbone_of(config, backbone)
    several = load(adapter, model, name="several tasks")
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
def info(adapter: _AdapterFolder, json_output: _Json = False) -> None:
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
