"""Which data a run is of: where its files lie, from the root, and checksums of the files and of the labels."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, absolute_path, expand_path, file_digest, listed
from hyperadapters.runs.experiment import Experiment
from hyperadapters.runs.task_choice import (
    FilesTask,
    InstructionsTask,
    MixtureTask,
    NamedTask,
    TaskChoice,
    _places,
    task_definitions,
)
from hyperadapters.tasks import absolute_place, files_at, moved_places, parts_of, share_of
from hyperadapters.training import Data, Mixture, tasks_of

LABELS = "labels"
"""The name of the labels among the checksums."""


def with_checksums(experiment: Experiment) -> Experiment:
    """Return an experiment whose files have paths from the root, and the checksums that they have now.

    Rows from the Hugging Face Hub have none: what trains on them is told by the rows in a checkpoint.

    Args:
        experiment: with checksums or without; those that it has are compared.

    Raises:
        InputError: a file is not there, or is not the one that the experiment has the checksum of.
    """
    task = _absolute_paths(experiment.task)
    if changed := changed_data(task):
        raise InputError(_refusal(changed.values()))
    return replace(experiment, task=replace(task, checksums={**task.checksums, **_file_checksums(task)}))


def with_labels(experiment: Experiment, data: Data | Mixture) -> Experiment:
    """Return an experiment with the checksums of its labels too, as the loaded rows have them."""
    task = experiment.task
    return replace(experiment, task=replace(task, checksums={**task.checksums, **_label_checksums(task, data)}))


def _check_data(experiment: Experiment, data: Data | Mixture) -> None:
    """Raise InputError unless the data that were read are those that the experiment has checksums of, if it has any.

    Args:
        experiment: whose task says where the files lie.
        data: what was read; the files are looked at afterwards, so one that changes meanwhile is seen.
    """
    if changed := changed_data(experiment.task, data):
        raise InputError(_refusal(changed.values()))


def changed_data(task: TaskChoice, data: Data | Mixture | None = None) -> dict[str, str]:
    """Return what is not as the checksums of a task say: the name of the checksum -> what is different, in words.

    Args:
        task: with checksums; without, nothing is compared.
        data: its rows, if they are loaded, whose labels are compared too.

    Raises:
        InputError: official files are missing.
    """
    if not task.checksums:
        return {}
    paths, changed = _paths(task), {}
    for name, known in task.checksums.items():
        absent = [path for path in paths.get(name, []) if not path.is_file()]
        if absent:
            changed[name] = f"{name}: {', '.join(map(str, absent))} is not there"
        elif name in paths and (found := _digest(paths[name])) != known:
            changed[name] = f"{name}: {', '.join(map(str, paths[name]))} has the SHA-256 {found[:12]}, not {known[:12]}"
    for name, found in (_label_checksums(task, data) if data else {}).items():
        if task.checksums.get(name, found) != found:
            changed[name] = f"{name}: they are others now, or in another order"
    return changed


def source_of_split(task: TaskChoice, split: str) -> str:
    """Return the name of the checksum of the files that hold a split's rows: train, where validation is a share."""
    if split == "validation" and isinstance(task, FilesTask | InstructionsTask) and share_of(task.validation):
        return "train"
    return split


def differing_checksums(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return, in words, which checksums of two tasks differ, of those that both have."""
    return [
        f"{name}: SHA-256 {then[name][:12]} there, {found[:12]} now"
        for name, found in now.items()
        if then.get(name, found) != found
    ]


def identity_of(experiment: Experiment) -> dict[str, Any]:
    """Return what makes an experiment itself, as JSON: all but where files lie and how often checkpoints are written.

    A user's own files are told by their checksums, where it has any. The rows of named tasks are the same wherever
    their official files lie.
    """
    values = experiment.to_json()
    checksums, task = values["task"].pop("checksums"), experiment.task
    values["training"].pop("checkpoint_seconds")
    if values["start"]:
        values["start"].pop("adapter")
    if isinstance(task, NamedTask | MixtureTask):
        values["task"].pop("data")
    elif files := {name: found for name, found in checksums.items() if name != LABELS}:
        for split in files:
            values["task"].pop(split)
        values["task"]["files"] = files
    return values


def _absolute_paths(task: TaskChoice) -> TaskChoice:
    """Return a task whose files have paths from the root."""
    if isinstance(task, NamedTask | MixtureTask):
        return replace(task, data=str(absolute_path(task.data))) if task.data else task
    places: dict[str, Any] = {split: absolute_place(place) for split, place in _places(task).items()}
    return replace(task, **places)


def moved_to(task: TaskChoice, folder: str | Path) -> TaskChoice:
    """Return a task whose files lie in another folder, as they lay in the one that held them all.

    Args:
        task: whose own files have paths from the root.
        folder: where they are now; of named tasks, the folder of the official files.
    """
    place = absolute_path(folder)
    if isinstance(task, NamedTask | MixtureTask):
        return replace(task, data=str(place))
    places: dict[str, Any] = moved_places(_places(task), place)
    return replace(task, **places)


def _narrowed_checksums(task: TaskChoice, name: str) -> dict[str, str]:
    """Return the checksums of one task of a mixture, as the task alone has them; of one task, its own."""
    if not isinstance(task, MixtureTask):
        return task.checksums
    own = f"{name}."
    return {key.removeprefix(own): found for key, found in task.checksums.items() if key.startswith(own)}


def _checksums_by_task(task: TaskChoice, data: Data | Mixture) -> dict[str, dict[str, str]]:
    """Return the checksums of every task of a run, by the task's name, as the saved adapter states them."""
    return {one.form.name: _narrowed_checksums(task, one.form.name) for one in tasks_of(data)}


def _paths(task: TaskChoice) -> dict[str, list[Path]]:
    """Return the files of a task, by the name of their checksum.

    Raises:
        InputError: official files are missing.
    """
    if isinstance(task, FilesTask | InstructionsTask):
        return {split: _files_of(place) for split, place in _places(task).items() if parts_of(place)}
    definitions, folder = task_definitions(task)
    return {
        f"{_prefix(task, definition.form.name)}{split}": paths
        for definition in definitions
        for split, paths in definition.paths(folder).items()
    }


def _files_of(place: str) -> list[Path]:
    """Return the files of a place; what it names, where there are none."""
    try:
        return files_at(place)
    except InputError:
        return [expand_path(part) for part in parts_of(place)]


def _prefix(task: TaskChoice, name: str) -> str:
    return f"{name}." if isinstance(task, MixtureTask) else ""


def _file_checksums(task: TaskChoice) -> dict[str, str]:
    return {name: _digest(paths) for name, paths in _paths(task).items()}


def _label_checksums(task: TaskChoice, data: Data | Mixture) -> dict[str, str]:
    return {
        f"{_prefix(task, one.form.name)}{LABELS}": _digest_of(one.form.to_json()["target"]) for one in tasks_of(data)
    }


def _digest(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of a file; of several files, that of theirs.

    Raises:
        InputError: one is not there.
    """
    found = [file_digest(path) for path in paths]
    return found[0] if len(found) == 1 else _digest_of(found)


def _digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _refusal(changed: Iterable[str]) -> str:
    return (
        "the data are not those that this run is of:\n  "
        + listed([*changed])
        + "\n  Put them back, or leave out the task's checksums to make a run of the data as they are."
    )
