"""The command that scores a saved adapter again: evaluate."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from hyperadapters._utils import InputError, console, mean_score, metric_scale, shown_metric
from hyperadapters.cli.base import _command, _quiet_libraries, _show
from hyperadapters.cli.file_scoring import _score_file
from hyperadapters.cli.options import _Columns, _Encoding, _Json, _OneOfTasks, _OtherBackbone, _SavedAdapter
from hyperadapters.cli.task_options import _check_file, _reading_of_file

if TYPE_CHECKING:
    from hyperadapters.runs import Experiment
    from hyperadapters.training import Scores


@_command("Use a saved adapter")
def evaluate(
    adapter: _SavedAdapter,
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
    separator: Annotated[
        str,
        typer.Option(help="With --file: what stands between the labels of a row, if it is neither a list nor ';'."),
    ] = "",
    columns: _Columns = "",
    encoding: _Encoding = "utf-8",
    skip_bad_rows: Annotated[
        bool,
        typer.Option(
            "--skip-bad-rows", help="With --file: leave out rows that lack cells or values, and say how many."
        ),
    ] = False,
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
    from hyperadapters.runs import entries_of
    from hyperadapters.storage import backbone_of, load, locate_adapter, read_config

    _check_evaluate(split, data, file, label, separator)
    reading = _reading_of_file(file, columns, encoding, skip_bad_rows=skip_bad_rows)
    folder = locate_adapter(adapter)
    config = read_config(folder)
    if file:
        chosen = _metric_to_compute(metric, "")
        name, found, count = _score_file(
            folder, config, file, label, task, decode, chosen, backbone, reading, separator
        )
        _show_scores(found, name, "", file, count, json_output)
        return
    experiment = _experiment_to_score(folder, config, task)
    how = settings.updated(experiment.evaluation, {"decode": decode} if decode else {}, "evaluation")
    how = replace(how, metric=_metric_to_compute(metric, how.metric))
    has_test = any(getattr(entry, "test", True) for entry in entries_of(experiment.task))
    scored = split or ("test" if has_test else "validation")
    experiment = _with_places(experiment, folder, scored, data)
    from hyperadapters.runs import load_task, task_name
    from hyperadapters.training import evaluate as score
    from hyperadapters.training import tasks_of

    _quiet_libraries()
    model, tokenizer = backbone_of(config, backbone)
    delta = load(folder, model)
    rows = load_task(experiment, tokenizer, model)
    if not split and scored != "test":
        console.print("there is no test split: validation is scored")
    if left := [part.form.name for part in tasks_of(rows) if scored not in part.splits]:
        console.print(f"without {scored} rows, and left out: {', '.join(left)} (--split validation has all)")
    found = score(delta, rows, scored, how, quiet=False)
    count = sum(len(part.splits.get(scored, [])) for part in tasks_of(rows))
    _show_scores(found, task_name(experiment.task), scored, "", count, json_output)


def _check_evaluate(split: str, data: str, file: str, label: str, separator: str) -> None:
    """Raise InputError if the options of `evaluate` do not go together, or name what is not there."""
    if split not in ("", "train", "validation", "test"):
        raise InputError(f"--split {split}: one of train, validation, test.")
    if data and not Path(data).is_dir():
        raise InputError(f"--data {data}: there is no such folder.")
    both = [f"--{name}" for name, value in {"split": split, "data": data}.items() if value and file]
    if both:
        raise InputError(f"--file names the rows to score: leave out {' and '.join(both)}.")
    for name, value in {"label": label, "separator": separator}.items():
        if value and not file:
            raise InputError(f"--{name} goes with --file.")
    if file:
        _check_file(file)


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
        "score": mean_score(found.metrics),
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
    shares = any(metric_scale(name).share for name in found.metrics)
    score = {"score": mean_score(found.metrics)} if shares else {}  # of an error it would be that with the other sign
    for what, number in {**score, "invalid answers": found.invalid}.items():
        table.add_row(what, f"{100 * number:.2f}")
    _show(value, json_output, f"{task}, {file or f'{split} split'}, {rows} rows, {found.decode}", table)
