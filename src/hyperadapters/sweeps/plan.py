"""What a sweep's file says: experiments, their keys, and the settings that narrow or change them."""

import contextlib
import hashlib
import importlib.util
import json
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, console, files, truncate_filename
from hyperadapters.delta import method_to_json
from hyperadapters.methods import METHODS
from hyperadapters.runs import (
    EXPERIMENT,
    RESULT,
    Experiment,
    MixtureTask,
    NamedTask,
    Result,
    apply_changes,
    nearest,
    run,
    task_name,
)
from hyperadapters.training import check_trackers, parameters_of

SWEEP = "sweep.json"


def run_in_turn(
    experiments: Mapping[str, Experiment],
    folder: Path,
    *,
    resume: bool = False,
    track: Sequence[str] = (),
    quiet: bool = False,
) -> list[Result]:
    """Run experiments one after the other in this process, showing each one's training, each in `folder/name`.

    Each result's method is called by its name here. With `resume`, finished ones are read from their files and the
    one that was interrupted goes on. `track` names the trackers of each.

    Raises:
        InputError: the folder holds something else, or one of the experiments is wrong.
    """
    files.check_output(folder, resume=resume, marker=SWEEP)
    check_trackers(track)
    check_methods(experiments.values())
    files.make_output(folder)
    files.write_json(folder / SWEEP, {name: experiment.to_json() for name, experiment in experiments.items()})
    results = []
    for number, (name, experiment) in enumerate(experiments.items(), 1):
        place = folder / name
        done = (place / RESULT).exists()
        if not quiet:
            console.print(f"[{number}/{len(experiments)}] {name}{' (done)' if done else ''}")
        begun = resume and (place / EXPERIMENT).exists()
        result = run(experiment, place, resume=begun, track=track, quiet=quiet)
        results.append(replace(result, method=name))
    return results


def check_methods(experiments: Iterable[Experiment]) -> None:
    """Refuse a method that does not fit its backbone before any run."""
    different = {
        (e.backbone, json.dumps(method_to_json(e.method), sort_keys=True), tasks_in(e)): e for e in experiments
    }
    for (_, _, tasks), experiment in different.items():
        parameters_of(experiment.backbone, experiment.method, tasks)


def tasks_in(experiment: Experiment) -> int:
    """How many tasks the Delta of a run holds at first."""
    return len(experiment.task.names) if isinstance(experiment.task, MixtureTask) else 1


def load_experiments(path: Path) -> list[Experiment]:
    """The list that a Python file's `experiments()` returns. The file is run: it is the user's own program.

    Raises:
        InputError: there is no such file or function, it has a fault, or it returns something else.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. A sweep is a Python file with a function experiments().")
    spec = importlib.util.spec_from_file_location(f"experiments in {path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file: its name ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where dataclasses look for the names in their annotations
    with faults_placed(path):
        sys.path.insert(0, str(path.parent.resolve()))  # so that it can import its neighbours
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.pop(0)
    if not callable(getattr(module, "experiments", None)):
        raise InputError(f"{path} has no function experiments() that returns a list of Experiment.")
    with faults_placed(path):
        found = module.experiments()
    if not isinstance(found, list) or not all(isinstance(item, Experiment) for item in found):
        raise InputError(f"{path}: experiments() must return a list of Experiment.")
    return found


@contextlib.contextmanager
def faults_placed(path: Path) -> Iterator[None]:
    """Any fault of the user's program becomes an InputError that names its line."""
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
        place, what = f"{path}:{lines[-1]}" if lines else str(path), f"{type(error).__name__}: {error}"
        if isinstance(error, SyntaxError):
            place, what = f"{error.filename}:{error.lineno}", f"{type(error).__name__}: {error.msg}"
        raise InputError(f"{place}: {error if isinstance(error, InputError) else what}") from error


def identity(experiment: Experiment) -> dict[str, Any]:
    """What makes an experiment itself: all of it but where its files lie and how often checkpoints are written."""
    values = experiment.to_json()
    if values["start"]:
        values["start"] = {key: value for key, value in values["start"].items() if key != "adapter"}
    values["task"] = {key: value for key, value in values["task"].items() if key != "data"}
    values["training"] = {key: value for key, value in values["training"].items() if key != "checkpoint_seconds"}
    return values


def key(experiment: Experiment) -> str:
    """A name for an experiment that no other has: task and method, or their beginning, and a hash of its identity."""
    text = json.dumps(identity(experiment), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    name = nearest(experiment.method)
    method = name if METHODS.get(name) == experiment.method else experiment.method.label
    readable = re.sub(r"[^\w.+-]+", "-", f"{task_name(experiment.task)}_{method}")
    return f"{truncate_filename(readable)}_{digest}"


def chosen(experiments: Sequence[Experiment], only: Mapping[str, str]) -> list[Experiment]:
    """The experiments whose settings are as asked: `method`, `task`, `backbone` or a path such as `training.lr`.

    Values are compared as text or numbers; commas separate alternatives.

    Raises:
        InputError: there is no such setting in any of them, or nothing is left.
    """
    left = list(experiments)
    for path, wanted in only.items():
        values = [setting_at(experiment, path) for experiment in left]
        if left and all(value is MISSING for value in values):
            raise InputError(f"--only {path}: no experiment has that setting. Try method, task, backbone, training.lr.")
        left = [e for e, value in zip(left, values, strict=True) if any(same(value, w) for w in wanted.split(","))]
        if not left:
            found = ", ".join(sorted({str(value) for value in values if value is not MISSING}))
            raise InputError(f"--only {path}={wanted}: no experiment is left. There are: {found}.")
    return left


def overridden(
    experiments: Sequence[Experiment], *, backbone: str = "", data: str = "", changes: Mapping[str, str]
) -> list[Experiment]:
    """The experiments with a backbone, a data folder and `--set` changes that hold for all; empty ones change nothing.

    A change of the method is made where the method has that field.

    Raises:
        InputError: a wrong setting, or a method's field that none of them has.
    """
    for path in changes:
        section, _, name = path.partition(".")
        if section == "method" and not any(hasattr(e.method, name) for e in experiments):
            raise InputError(f"--set {path}: none of the methods has that field.")
    found = []
    for experiment in experiments:
        fitting = {p: v for p, v in changes.items() if not p.startswith("method.") or hasattr(experiment.method, p[7:])}
        task = experiment.task
        if data and isinstance(task, NamedTask | MixtureTask):
            task = replace(task, data=data)
        changed = replace(experiment, backbone=backbone or experiment.backbone, task=task)
        found.append(apply_changes(changed, fitting))
    return found


def setting_at(experiment: Experiment, path: str) -> Any:
    """A setting by its path, also one that was left at its default; `method` is the nearest preset, `task` the task."""
    if path in ("method", "task"):
        return nearest(experiment.method) if path == "method" else task_name(experiment.task)
    value: Any = experiment.to_json()
    for part in path.split("."):
        value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
    return value


MISSING = object()
"""In place of a setting that an experiment does not have; None is the value of some."""


def same(value: Any, wanted: str) -> bool:
    """Whether a setting is what the text says: 3e-3 is 0.003."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(wanted) == float(value)
    return str(value).lower() == wanted.strip().lower()
