"""Which data a run is of: where its files lie, from the root, and checksums of the files and of the labels."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hyperadapters._utils import (
    InputError,
    UnavailableError,
    absolute_path,
    expand_path,
    file_digest,
    listed,
    shortened,
)
from hyperadapters.runs.experiment import Experiment
from hyperadapters.runs.task_choice import (
    FilesTask,
    InstructionsTask,
    MixtureTask,
    NamedTask,
    SingleTask,
    TaskChoice,
    _definition_of,
    _each_entry,
    _places,
    entries_of,
    task_name,
    with_official_files,
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
        raise _refusal(task, changed.values())
    return replace(experiment, task=_each_entry(task, lambda entry: _with_known(entry, _file_checksums(entry))))


def with_labels(experiment: Experiment, data: Data | Mixture) -> Experiment:
    """Return an experiment with the checksums of its labels too, as the loaded rows have them."""
    known = {one.form.name: _label_checksum(one) for one in tasks_of(data)}
    return replace(
        experiment,
        task=_each_entry(experiment.task, lambda entry: _with_known(entry, {LABELS: known[task_name(entry)]})),
    )


def _with_known(entry: SingleTask, checksums: Mapping[str, str]) -> SingleTask:
    return replace(entry, checksums={**entry.checksums, **checksums})


def without_checksums(task: TaskChoice, names: Collection[str]) -> TaskChoice:
    """Return a task without some of its checksums, so that they are not compared.

    Args:
        task: one, or a mixture.
        names: of the checksums; of a mixture's, `task.name`.
    """

    def kept(entry: SingleTask) -> SingleTask:
        own = {name: found for name, found in entry.checksums.items() if f"{_prefix(task, entry)}{name}" not in names}
        return replace(entry, checksums=own)

    return _each_entry(task, kept)


def _check_data(experiment: Experiment, data: Data | Mixture) -> None:
    """Raise InputError unless the data that were read are those that the experiment has checksums of, if it has any.

    Args:
        experiment: whose task says where the files lie.
        data: what was read; the files are looked at afterwards, so one that changes meanwhile is seen.
    """
    if changed := changed_data(experiment.task, data):
        raise _refusal(experiment.task, changed.values())


def changed_data(task: TaskChoice, data: Data | Mixture | None = None) -> dict[str, str]:
    """Return what is not as the checksums of a task say: the name of the checksum -> what is different, in words.

    Args:
        task: with checksums; without, nothing is compared.
        data: its rows, if they are loaded, whose labels are compared too.

    Raises:
        InputError: official files are missing.
    """
    loaded = {one.form.name: one for one in tasks_of(data)} if data else {}
    return {
        f"{_prefix(task, entry)}{name}": f"{_prefix(task, entry)}{what}"
        for entry in entries_of(task)
        for name, what in _changed(entry, loaded.get(task_name(entry))).items()
    }


def _changed(task: SingleTask, data: Data | None) -> dict[str, str]:
    """Return what is not as the checksums of one task say; arguments and errors are those of `changed_data`."""
    if not task.checksums:
        return {}
    paths, changed = _paths(task), {}
    for name, known in task.checksums.items():
        absent = [path for path in paths.get(name, []) if not path.is_file()]
        if absent:
            changed[name] = f"{name}: {', '.join(map(str, absent))} is not there"
        elif name in paths and (found := _digest(paths[name])) != known:
            changed[name] = f"{name}: {', '.join(map(str, paths[name]))} has the SHA-256 {found[:12]}, not {known[:12]}"
    if data and task.checksums.get(LABELS, _label_checksum(data)) != _label_checksum(data):
        changed[LABELS] = f"{LABELS}: they are others now, or in another order"
    return changed


def deciding_checksums(task: TaskChoice, split: str) -> set[str]:
    """Return the names of the checksums of the files that decide which rows a split has.

    These are all files of a task of the package, whose splits are made of them, and of own files those of the split,
    or of train, where validation is a share of it.

    Args:
        task: one, or a mixture, whose names have the task's before them.
        split: train, validation or test.
    """
    return {
        f"{_prefix(task, entry)}{name}"
        for entry in entries_of(task)
        for name in entry.checksums
        if isinstance(entry, NamedTask) or name == _source_of_split(entry, split)
    }


def _source_of_split(task: SingleTask, split: str) -> str:
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
    values["training"].pop("checkpoint_seconds")
    if values["start"]:
        values["start"].pop("adapter")
    values["task"] = without_places(values["task"])
    return values


def _differing_settings(then: Mapping[str, Any], now: Mapping[str, Any], section: str = "") -> list[str]:
    """Return, in words, which settings of two experiments differ, each by its path, such as training.lr.

    Of two methods or tasks of different types, the types are named, not their settings.

    Args:
        then: `identity_of` the one, or a part of it.
        now: the same of the other.
        section: where the part stands, with a point behind; empty for the whole.
    """
    found = []
    for key in [key for key in {**then, **now} if then.get(key) != now.get(key)]:
        old, new = then.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if old.get("type") != new.get("type"):
                old, new = {"type": old.get("type")}, {"type": new.get("type")}
            found += _differing_settings(old, new, f"{section}{key}.")
        else:
            found.append(f"{section}{key}: {_as_setting(old)} there, {_as_setting(new)} now")
    return found


def _as_setting(value: Any) -> str:
    """Return a setting as `--set` takes it; of several in one, the beginning."""
    return shortened(value if isinstance(value, str) and value else json.dumps(value))


def without_places(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a task, or of a mixture, without where its data lie: files are told by their checksums.

    Args:
        task: as `Experiment.to_json` has it. Own files without checksums keep their places.
    """
    if "tasks" in task:
        return {**task, "tasks": [without_places(entry) for entry in task["tasks"]]}
    checksums = task.get("checksums", {})
    left = {name: value for name, value in task.items() if name not in ("data", "checksums")}
    files = {name: found for name, found in checksums.items() if name != LABELS and "train" in task}
    return {**{name: value for name, value in left.items() if name not in files}, **({"files": files} if files else {})}


def _absolute_paths(task: TaskChoice) -> TaskChoice:
    """Return a task whose files have paths from the root."""

    def absolute(entry: SingleTask) -> SingleTask:
        if isinstance(entry, NamedTask):
            return replace(entry, data=str(absolute_path(entry.data))) if entry.data else entry
        places: dict[str, Any] = {split: absolute_place(place) for split, place in _places(entry).items()}
        return replace(entry, **places)

    return _each_entry(task, absolute)


def moved_to(task: TaskChoice, folder: str | Path) -> TaskChoice:
    """Return a task whose files lie in another folder, as they lay in the one that held them all.

    Args:
        task: whose own files have paths from the root.
        folder: where they are now; of named tasks, the folder of the official files.
    """
    place = absolute_path(folder)
    own = {task_name(entry): _places(entry) for entry in entries_of(task) if not isinstance(entry, NamedTask)}
    together = {f"{name}:{split}": path for name, places in own.items() for split, path in places.items()}
    moved = moved_places(together, place) if together else {}

    def changed(entry: SingleTask) -> SingleTask:
        if isinstance(entry, NamedTask):
            return entry
        name = task_name(entry)
        found = {split: moved.get(f"{name}:{split}", path) for split, path in own[name].items()}
        places: dict[str, Any] = found
        return replace(entry, **places)

    return with_official_files(_each_entry(task, changed), str(place))


def _paths(task: SingleTask) -> dict[str, list[Path]]:
    """Return the files of a task, by the name of their checksum.

    Raises:
        InputError: official files are missing.
    """
    if isinstance(task, FilesTask | InstructionsTask):
        return {split: _files_of(place) for split, place in _places(task).items() if parts_of(place)}
    definition, folder = _definition_of(task)
    return definition.paths(folder)


def _files_of(place: str) -> list[Path]:
    """Return the files of a place; what it names, where there are none."""
    try:
        return files_at(place)
    except InputError:
        return [expand_path(part) for part in parts_of(place)]


def _prefix(task: TaskChoice, entry: SingleTask) -> str:
    return f"{entry.name}." if isinstance(task, MixtureTask) else ""


def _file_checksums(task: SingleTask) -> dict[str, str]:
    return {name: _digest(paths) for name, paths in _paths(task).items()}


def _label_checksum(data: Data) -> str:
    return _digest_of(data.form.to_json()["target"])


def _checksums_by_task(task: TaskChoice) -> dict[str, dict[str, str]]:
    """Return the checksums of every task of a run, by the task's name, as the saved adapter states them."""
    return {task_name(entry): entry.checksums for entry in entries_of(task)}


def _digest(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of a file; of several files, that of theirs.

    Raises:
        InputError: one is not there.
    """
    found = [file_digest(path) for path in paths]
    return found[0] if len(found) == 1 else _digest_of(found)


def _digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _refusal(task: TaskChoice, changed: Iterable[str]) -> InputError:
    """Return an error that says what has changed; files that are not there may be back at a later try."""
    paths = [path for entry in entries_of(task) for found in _paths(entry).values() for path in found]
    missing = any(not path.is_file() for path in paths)
    return (UnavailableError if missing else InputError)(
        "the data are not those that this run is of:\n  "
        + listed([*changed])
        + "\n  Put them back, or leave out the task's checksums to make a run of the data as they are."
    )
