"""From options, and the file that `--config` names, to an experiment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from hyperadapters._utils import InputError
from hyperadapters.cli.base import _was_given
from hyperadapters.cli.options import _StartOptions, _SweepOptions, _TaskOptions, _TrainingOptions
from hyperadapters.cli.run_file import _RunFile
from hyperadapters.cli.task_file import _read_task_file
from hyperadapters.cli.task_options import _choose_files, _choose_named

if TYPE_CHECKING:
    from hyperadapters.delta import Method
    from hyperadapters.runs import Experiment, TaskChoice, WarmStart

_T = TypeVar("_T")

_PATHS = {
    "lr": "training.lr",
    "epochs": "training.epochs",
    "steps": "training.steps",
    "batch_size": "training.batch_size",
    "max_train": "text.train_rows",
    "seed": "training.seed",
    "class_weights": "training.class_weights",
    "metric": "evaluation.metric",
}
"""The setting that each option of its own changes."""


class _Problems:
    """What is wrong with one input, collected to be raised in one error.

    Args:
        found: what was found before.
    """

    def __init__(self, found: Sequence[str] = ()) -> None:
        self.found = list(found)

    def unless_wrong(self, choose: Callable[[], _T]) -> _T | None:
        """Return what a function returns; None, and its message is noted, if it raises InputError."""
        try:
            return choose()
        except InputError as error:
            self.found.append(str(error))
            return None

    def raise_any(self) -> None:
        """Raise InputError with every problem once, if there are any."""
        if self.found:
            raise InputError("\n  ".join(dict.fromkeys(self.found)))


def _split_settings(settings: list[str], option: str = "--set", example: str = "training.lr=3e-3") -> dict[str, str]:
    """Return `--set a.b=c` options as a mapping.

    Args:
        settings: what follows each of the options.
        option: its name, for the error.
        example: how to write it, for the error.

    Raises:
        InputError: one lacks its `=`.
    """
    wrong = [item for item in settings if "=" not in item]
    if wrong:
        raise InputError(f"{option} {wrong[0]}: write it as key=value, such as {example}.")
    return dict(item.split("=", 1) for item in settings)


def _changed_settings(options: _TrainingOptions | _SweepOptions) -> dict[str, str]:
    """Return every setting that the options change, by its path, as text.

    Raises:
        InputError: an option and a --set give one setting two values, there are both epochs and steps, or a metric
            of the user's own cannot be imported.
    """
    changes = _split_settings(options.settings)
    given = {f.name: getattr(options, f.name) for f in fields(options) if f.name in _PATHS}
    given = {name: value for name, value in given.items() if value is not None}
    twice = [
        f"--{name.replace('_', '-')} {value} and --set {_PATHS[name]}={changes[_PATHS[name]]}"
        for name, value in given.items()
        if _PATHS[name] in changes and not _is_same(changes[_PATHS[name]], value)
    ]
    if twice:
        raise InputError(f"{'; '.join(twice)}: two values for one setting. Give one of them.")
    if {"epochs", "steps"} <= set(given):
        raise InputError(f"--epochs {given['epochs']} and --steps {given['steps']}: give one of them.")
    if ":" in str(given.get("metric", "")):
        from hyperadapters.tasks import allow_metric

        allow_metric(given["metric"])
    whole = {"training.steps": "null"} if "epochs" in given else {}  # of a file or of an experiment of a sweep
    return {**whole, **changes, **{_PATHS[name]: str(value) for name, value in given.items()}}


def _is_same(text: str, value: float | str) -> bool:
    """Return whether a text is this value; a number may be written otherwise."""
    try:
        return float(text) == float(value)
    except ValueError:
        return text == value


def _choose_for_method(settings: list[str], method: str, methods: list[str]) -> list[str]:
    """Return the `--set` options that concern one of several methods: its own `NAME.KEY` become `method.KEY`."""
    sections = [(item.partition(".")[0], item) for item in settings]
    mine = [f"method{item.removeprefix(method)}" for section, item in sections if section == method]
    return [item for section, item in sections if section not in methods] + mine


def _choose_task(options: _TaskOptions, settings: Mapping[str, str], file: _RunFile | None = None) -> "TaskChoice":
    """Return what the options, or else the file, say to train on: a task, several, or a user's own files.

    Args:
        options: of the command line.
        settings: the settings that options and file change, by path: their seed draws a share of validation rows.
        file: what `--config` names.

    Raises:
        InputError: there is no such task, file or folder, or the options do not go together.
    """
    if options.tasks and (options.task or options.given):
        other = (options.given or ["--task"])[0]
        raise InputError(f"--tasks names a file of tasks, {other} what to train on by itself: give one or the other.")
    if options.task and options.given:
        raise InputError(
            f"--task names a task of the package, {options.given[0]} files of your own: give one or the other."
        )
    if options.given:
        return _choose_files(options, _split_seed(settings))
    if options.tasks:
        return _read_task_file(Path(options.tasks), options.data, _split_seed(settings))
    if file and file.task is not None and not options.task:
        return file.task_choice(options.data, _split_seed(settings))
    return _choose_named(options.task or "demo/paraphrase", options.data)


def _split_seed(settings: Mapping[str, str]) -> int:
    """Return the seed of a run, for the validation rows; the usual one where it is none: `Training` says so."""
    seed = settings.get("training.seed", "")
    return int(seed) if seed.isdecimal() and int(seed) < 2**63 else 42


def _choose_start(options: _StartOptions, named: bool, file: _RunFile | None = None) -> "WarmStart | None":
    """Return the trained adapter that the options, or else the file, say to continue from, if any.

    Args:
        options: of the command line.
        named: whether a task is given.
        file: what `--config` names.

    Raises:
        InputError: there is no such adapter, or the options do not go together.
    """
    from hyperadapters.runs import start_from

    if options.start and not named:
        raise InputError("--from continues with a task: say which with --task, or give files of your own.")
    if options.start:
        return start_from(options.start, options.init_task, freeze=options.freeze)
    for option, value in {"--init-task": options.init_task, "--freeze": options.freeze}.items():
        if value:
            raise InputError(f"{option} goes with --from, a trained adapter that holds several tasks.")
    return file.warm_start() if file else None


def _choose_method(
    context: typer.Context, method: str, backbone: str, start: "WarmStart | None", file: _RunFile
) -> tuple["Method", str]:
    """Return the method and the backbone's name: of the command line, else of the file, else of the adapter to start
    from, else the defaults.

    Raises:
        InputError: there is no such method, or the adapter's files are damaged.
    """
    from hyperadapters.methods import method_from_json, method_named
    from hyperadapters.storage import read_config

    config: Mapping[str, Any] = read_config(start.adapter) if start else {}
    own = _was_given(context, "method") or (not config and file.method is None)
    if own:
        chosen = method_named(method)
    elif file.method is not None:
        chosen = file.method_choice(method_from_json(config["method"]) if config else method_named(method))
    else:
        chosen = method_from_json(config["method"])
    if _was_given(context, "backbone"):
        return chosen, backbone
    return chosen, file.backbone or (config["backbone"]["name"] if config else backbone)


def _plan_experiment(
    method: "Method", task: "TaskChoice", backbone: str, changes: Mapping[str, str], start: "WarmStart | None" = None
) -> "Experiment":
    """Return an experiment with the method's and the task's own defaults, and the settings that are changed.

    Raises:
        InputError: unknown settings or wrong values, all of them in one error.
    """
    return _with_rate(_plan_without_rate(method, task, backbone, changes, start), changes)


def _plan_without_rate(
    method: "Method", task: "TaskChoice", backbone: str, changes: Mapping[str, str], start: "WarmStart | None" = None
) -> "Experiment":
    """Return what `_plan_experiment` returns, but for the learning rate, which needs the backbone's configuration."""
    from hyperadapters.runs import Experiment, apply_changes, text_for, training_for
    from hyperadapters.training import Training

    if "training.epochs" in changes:  # whoever says how many passes wants no more of them
        changes = {"training.min_steps": "1", **changes}
    training = Training(lr=1.0, **training_for(task), **_stored_types(start))
    text = text_for(task)
    experiment = Experiment(method=method, task=task, backbone=backbone, training=training, text=text, start=start)
    return apply_changes(experiment, changes)


def _with_rate(experiment: "Experiment", changes: Mapping[str, str]) -> "Experiment":
    """Return a planned experiment with the rate that suits its method on its backbone, unless another is given.

    Raises:
        InputError: the backbone's configuration is not there.
    """
    if "training.lr" in changes:
        return experiment
    from hyperadapters.backbones import kind_and_width

    entry_only = experiment.start is not None and experiment.start.freeze
    rate = experiment.method.suggested_rate(*kind_and_width(experiment.backbone), entry_only=entry_only)
    return replace(experiment, training=replace(experiment.training, lr=rate))


def _stored_types(start: "WarmStart | None") -> dict[str, Any]:
    """Return the number types of backbone and adapter for a run that continues: those of the adapter's training."""
    from hyperadapters.storage import read_config

    if not start:
        return {}
    config = read_config(start.adapter)
    return {"backbone_precision": config["backbone"]["precision"], "adapter_precision": config["precision"]}
