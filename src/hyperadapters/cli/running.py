"""Commands that train: train, compare."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hyperadapters._utils import InputError, check_extra
from hyperadapters.cli.base import _command, _quiet_libraries, _show, _was_given
from hyperadapters.cli.options import (
    _Backbone,
    _Json,
    _MethodName,
    _Resume,
    _StartOptions,
    _TaskOptions,
    _Track,
    _TrainingOptions,
)
from hyperadapters.cli.planning import (
    _changed_settings,
    _choose_for_method,
    _choose_method,
    _choose_start,
    _choose_task,
    _plan_experiment,
    _plan_without_rate,
    _Problems,
    _with_rate,
)
from hyperadapters.cli.run_file import _read_run_file, _RunFile
from hyperadapters.cli.tables import _comparison_table, _result_table
from hyperadapters.cli.task_options import _split_names

if TYPE_CHECKING:
    from hyperadapters.runs import Experiment


@_command("Train")
def train(
    context: typer.Context,
    task: _TaskOptions,
    training: _TrainingOptions,
    start: _StartOptions,
    method: _MethodName = "compacter++",
    backbone: _Backbone = "embedded",
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML or JSON file of an experiment, or of a part of one; options given here win over it. The "
            "experiment.json of a finished run repeats that run."
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the adapter and the result; new or empty.")] = Path(
        "out/adapter"
    ),
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="Race five learning rates around the method's, or --lr, on validation, for the steps of about two "
            "runs, and train with the best.",
        ),
    ] = False,
    states: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which outputs of frozen layers are kept for other runs on the same texts, with "
            "--set training.reuse=fp32 or bf16; otherwise they are removed with the end of the run."
        ),
    ] = None,
    track: _Track = "",
    resume: _Resume = False,
    json_output: _Json = False,
) -> None:
    """Train one adapter and save it.

    The weights that are best on validation are kept and tested once. Ctrl-C leaves a checkpoint for --resume.

    Examples:
    - `hyperadapters train --task glue/mrpc --data glue_data --backbone t5-base --output out/mrpc`
    - `hyperadapters train --train a.jsonl --validation b.jsonl --text premise,hypothesis --label label`
    - `hyperadapters train --train a.csv --validation b.csv --text review --label stars --tune`
    - `hyperadapters train --train chats.jsonl --validation more.jsonl --backbone Qwen/Qwen3-0.6B`
    - `hyperadapters train --task glue/mrpc,glue/rte --method hyperformer++ --lr 3e-4 --epochs 10`
    - `hyperadapters train --tasks tasks.yaml --method hyperformer++ --output out/mix`
    - `hyperadapters train --from out/mix --task scitail --init-task glue/rte --max-train 16 --steps 200`
    - `hyperadapters train --config out/mrpc/experiment.json --seed 1 --output out/mrpc-1`
    """
    file = _read_run_file(config) if config else _RunFile()
    if tune:
        _check_resumable(output, resume)
    else:
        _check_output(output, resume)
    experiment = _plan_run(context, file, method, backbone, task, training, start)
    if tune and track:
        raise InputError("--tune races many runs, which --track cannot follow: leave one of them out.")
    if states and experiment.training.reuse == "none":
        raise InputError("--states keeps what --set training.reuse=fp32 or bf16 computes: give both, or neither.")
    if tune and states:
        raise InputError("--tune has a folder of states for its own runs: leave --states out.")
    from hyperadapters.reports import comparison_title
    from hyperadapters.runs import describe_baselines, run
    from hyperadapters.sweeps import tune as tune_rate

    _quiet_libraries()
    if tune:
        result = tune_rate(experiment, output, resume=resume)
    else:
        result = run(experiment, output, resume=resume, states=states, track=_split_names(track))
    value = {**asdict(result), "output": str(output)}
    last = [
        *([f"learning rate: {result.experiment['training']['lr']:g}"] if tune else []),
        *describe_baselines(result, raced=tune),
        f"tokens: {result.tokens:,}, with padding {result.padded_tokens:,}",
        f"adapter and result: {output}",
    ]
    _show(value, json_output, comparison_title([result]), _result_table(result), *last)


@_command("Train")
def compare(
    task: _TaskOptions,
    training: _TrainingOptions,
    methods: Annotated[
        str, typer.Option(help="Names of methods, peft:NAME for a method of the peft library, or `all`.")
    ] = "full,houlsby,compacter,compacter++",
    backbone: _Backbone = "embedded",
    output: Annotated[Path, typer.Option(help="Folder for the runs, the table and the figure.")] = Path("out/compare"),
    track: _Track = "",
    resume: _Resume = False,
    json_output: _Json = False,
) -> None:
    """Train several methods on one task: one table, one figure.

    Each method has the learning rate that suits it, unless --lr gives one for all. A method's name in place of a
    section of --set changes that method alone.

    Examples:
    - `hyperadapters compare --methods full,houlsby,compacter++ --task glue/mrpc --data glue_data`
    - `hyperadapters compare --methods compacter++,peft:lora --set compacter++.n=8 --set peft:lora.r=16`
    """
    from hyperadapters.methods import METHODS, method_named

    names = list(METHODS) if methods == "all" else _split_names(methods)
    if len(set(names)) != len(names) or not names:
        raise InputError(f"--methods {methods}: name each method once, such as full,houlsby,compacter++.")
    check_extra("reports", "compare draws a figure")
    _check_resumable(output, resume)
    chosen = _choose_task(task, _changed_settings(training))
    own = {name: replace(training, settings=_choose_for_method(training.settings, name, names)) for name in names}
    plans = {
        name: _plan_experiment(method_named(name), chosen, backbone, _changed_settings(own[name])) for name in names
    }
    from hyperadapters.reports import write_comparison
    from hyperadapters.runs import describe_baselines
    from hyperadapters.sweeps import run_in_turn

    _quiet_libraries()
    results = run_in_turn(plans, output, resume=resume, track=_split_names(track))
    paths = write_comparison(results, output)
    notes = dict.fromkeys(line for result in results for line in describe_baselines(result))
    where = [*notes, *(f"{name}: {path}" for name, path in paths.items())]
    where += [f"adapters and results: {output}/{{{','.join(names)}}}"]
    value = {"output": str(output), **paths, "results": [asdict(result) for result in results]}
    _show(value, json_output, _comparison_table(results), *where)


def _plan_run(
    context: typer.Context,
    file: _RunFile,
    method: str,
    backbone: str,
    task: _TaskOptions,
    training: _TrainingOptions,
    start: _StartOptions,
) -> "Experiment":
    """Return the experiment that the options of `train` and a file describe.

    Raises:
        InputError: something is wrong; all problems of options and file are in one error.
    """
    from hyperadapters.methods import method_named

    problems = _Problems(file.problems)
    named = bool(task.task or task.tasks or task.train or file.task is not None)
    begun = problems.unless_wrong(lambda: _choose_start(start, named, file))
    found = problems.unless_wrong(lambda: _choose_method(context, method, backbone, begun, file))
    changed = problems.unless_wrong(lambda: _changed_settings(training)) or {}
    chosen = problems.unless_wrong(lambda: _choose_task(task, {**file.settings, **changed}, file))
    own_method = _was_given(context, "method") or found is None
    kept = {k: v for k, v in file.settings.items() if not (own_method and k.startswith("method."))}
    if not found:  # what is left can be checked with any method
        changed = {k: v for k, v in changed.items() if not k.startswith("method.")}
    used, place = found or (method_named("compacter++"), "embedded")
    plan = (used, chosen or _choose_task(_TaskOptions(), {}), place, {**kept, **changed}, begun)
    experiment = problems.unless_wrong(lambda: _plan_without_rate(*plan))
    problems.raise_any()
    assert experiment is not None
    return _with_rate(experiment, {**kept, **changed})


def _check_output(output: Path, resume: bool) -> None:
    """Raise InputError unless a run can write to a folder: before anything slow is imported."""
    from hyperadapters._utils import check_output
    from hyperadapters.runs import EXPERIMENT

    check_output(output, resume=resume, marker=EXPERIMENT)
    _check_resumable(output, resume)


def _check_resumable(output: Path, resume: bool) -> None:
    """Raise InputError if a run is to be continued, and its folder is not there or empty."""
    if resume and not (output.is_dir() and any(output.iterdir())):
        what = "is empty" if output.is_dir() else "is not there"
        raise InputError(
            f"--resume continues the run in --output, but {output} {what}. Name the folder of that run, or leave out "
            "--resume to begin one."
        )
