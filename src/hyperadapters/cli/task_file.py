"""A list of tasks as `--tasks` and `--config` name them in a file: tasks of the package, and files of one's own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperadapters._utils import InputError, neighbours
from hyperadapters.cli.options import _TaskOptions
from hyperadapters.cli.parsing import _parse_file
from hyperadapters.cli.task_options import _choose_files, _split_names

if TYPE_CHECKING:
    from hyperadapters.runs import SingleTask, TaskChoice

_NAMED = ("task", "data")
_TEXTS = ("name", "template", "label", "target", "score", "tags", "span", "separator", "encoding")
_PLACES = ("train", "validation", "test", "labels")
_LISTS = ("text", "columns")
_COLUMN_OF = {"label": "label", "labels": "label", "text": "target", "score": "score", "tags": "tags", "span": "span"}
"""The option that names the column of an answer of each kind that `FilesTask.answers` knows."""

_OPTION = re.compile(r"(?:(?<=\s)|(?<=\()|^)--(?=[a-z])")
"""The strokes before the name of an option, which is a key here."""

_OWN = (*_PLACES, *_LISTS, *_TEXTS, "skip_bad_rows", "answer", "answers", "classes", "reading", "split_seed",
        "description")  # fmt: skip
"""The keys of a user's own files: the options of `train` without their strokes, and the fields of `FilesTask`."""


def _read_task_file(path: Path, data: str, seed: int) -> "TaskChoice":
    """Return the tasks that a file lists: a mixture, or the only one.

    Args:
        path: the file: a list, or a mapping with the keys `tasks` and `temperature`. Its paths begin at its folder.
        data: the folder of the official files, in place of those that tasks of the package name; may be empty.
        seed: draws the validation rows where they are a share of the training rows.

    Raises:
        InputError: the file cannot be read or is none of tasks, or tasks are wrong; all of them in one error.
    """
    from hyperadapters._utils import settings
    from hyperadapters.runs import MixtureTask

    values = _parse_file(path, "--tasks")
    given = values if isinstance(values, Mapping) else {"tasks": values}
    others = [key for key in given if key not in ("tasks", "temperature", "type", "_checksum")]
    if others or not isinstance(given.get("tasks"), list):
        raise InputError(
            f"--tasks {path} holds no list of tasks: write one a line, each a name or `- {{train: …, validation: …, "
            "text: …, label: …}`, perhaps under the key tasks, beside temperature"
            + (f". Unknown: {', '.join(map(str, others))}." if others else ".")
        )
    choice = _choose_entries(given["tasks"], f"--tasks {path}", data, seed, path.absolute().parent)
    if "temperature" in given:
        if not isinstance(choice, MixtureTask):
            raise InputError(f"--tasks {path}: temperature is for several tasks, and there is one.")
        choice = settings.updated(choice, {"temperature": given["temperature"]}, "task")
    return choice


def _choose_entries(
    entries: Sequence[Any], where: str, data: str, seed: int, folder: Path | None = None
) -> "TaskChoice":
    """Return the tasks that a list describes: a mixture, or the only one.

    Args:
        entries: names of tasks, and mappings.
        where: what holds the list, for errors.
        data: the folder of the official files, in place of those that tasks of the package name; may be empty.
        seed: draws the validation rows where they are a share of the training rows.
        folder: what relative paths begin at; None: the current one.

    Raises:
        InputError: tasks are wrong or occur twice; all of it in one error.
    """
    from hyperadapters.runs import MixtureTask, task_name

    entries = [part for entry in entries for part in (_split_names(entry) if isinstance(entry, str) else [entry])]
    found, problems, names = list["SingleTask"](), list[str](), list[str]()
    for number, entry in enumerate(entries, 1):
        try:
            task = _choose_entry(entry, seed, folder)
            names.append(task_name(task))
            found.append(replace(task, name=names[-1]) if len(entries) > 1 else task)
        except InputError as error:
            name = entry.get("name") if isinstance(entry, Mapping) else None
            which = f", task {number}{f' ({name})' if name else ''}" if len(entries) > 1 else ""
            problems.append(f"{where}{which}: {_OPTION.sub('', str(error))}")
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f"{where}: {', '.join(twice)}: name each task once; `name` renames own files."] if twice else []
    problems += [] if entries else [f"{where}: there is no task."]
    if problems:
        raise InputError("\n  ".join(problems))
    chosen = MixtureTask(tasks=tuple(found)) if len(found) > 1 else found[0]
    return _with_folder(chosen, data) if data else chosen


def _with_folder(task: "TaskChoice", data: str) -> "TaskChoice":
    """Return tasks of the package with the folder of their official files.

    Raises:
        InputError: there is no such folder, or no task needs it.
    """
    from hyperadapters.runs import NamedTask, entries_of, task_definitions, with_official_files

    if not Path(data).is_dir():
        raise InputError(f"--data {data}: there is no such folder.")
    if not any(isinstance(entry, NamedTask) for entry in entries_of(task)):
        raise InputError(f"--data {data} is for tasks of the package, and these are own files: leave --data out.")
    placed = with_official_files(task, data)
    for entry in entries_of(placed):
        if isinstance(entry, NamedTask):
            task_definitions(entry)
    return placed


def _choose_entry(entry: Any, seed: int, folder: Path | None) -> "SingleTask":
    """Return one task of a list; arguments are those of `_choose_entries`.

    Raises:
        InputError: there is no such task, or keys or values are wrong.
    """
    from hyperadapters.runs import NamedTask, task_definitions

    if isinstance(entry, Mapping) and "type" in entry:
        return _in_folder(_task_from_json(entry, seed), folder)
    given = dict(entry) if isinstance(entry, Mapping) else {"task": entry}
    if not isinstance(given.get("task", ""), str):
        raise InputError(f"{given['task']!r} is no task: write a name, or keys such as train and text.")
    if "task" not in given:
        return _choose_own(given, seed, folder)
    _check_keys(given, _NAMED, "a task of the package")
    data = _as_text("data", given.get("data", ""))
    named = NamedTask(name=given["task"], data=str((folder or Path()) / data) if data else "")
    task_definitions(named)
    if named.data and not Path(named.data).is_dir():
        raise InputError(f"data {named.data}: there is no such folder.")
    return named


def _check_keys(given: Mapping[Any, Any], known: Sequence[str], what: str) -> None:
    """Raise InputError, naming the nearest ones, unless all keys are known."""
    unknown = [f"{key}: {what} has no such key. {neighbours(str(key), known)}" for key in given if key not in known]
    if unknown:
        raise InputError(" ".join(unknown))


def _choose_own(given: Mapping[str, Any], seed: int, folder: Path | None) -> "SingleTask":
    """Return own files as the keys of an entry describe them; arguments are those of `_choose_entries`.

    Raises:
        InputError: keys or values are wrong or missing, or a file is not there.
    """
    from hyperadapters.tasks import absolute_place

    _check_keys(given, _OWN, "a task of own files")
    values = {**_flattened_reading(given.get("reading", {})), **given}
    lists = {key: _as_list(key, values[key]) for key in (*_LISTS, "classes") if key in values}
    if isinstance(values.get("labels"), list):
        lists["classes"] = _as_list("labels", values.pop("labels"))
    texts = {key: _as_text(key, values[key]) for key in (*_TEXTS, "answer", "answers") if key in values}
    if "answers" in texts and texts["answers"] not in _COLUMN_OF:
        raise InputError(f"answers {texts['answers']!r}: {neighbours(texts['answers'], _COLUMN_OF)}")
    if column := texts.pop("answer", ""):
        texts[_COLUMN_OF[texts.get("answers", "label")]] = column
    kind = texts.pop("answers", "")
    places = {key: ",".join(_as_list(key, values[key])) for key in _PLACES if key in values}
    if folder:
        places = {key: absolute_place(place, folder) for key, place in places.items()}
    joined = {key: ",".join(lists[key]) for key in _LISTS if key in lists}
    skip = values.get("skip_bad_rows", False)
    if not isinstance(skip, bool):
        raise InputError(f"skip_bad_rows is {skip!r}: write true or false.")
    task = _choose_files(replace(_TaskOptions(), **texts, **places, **joined, skip_bad_rows=skip), seed)
    changes: dict[str, Any] = {key: lists[key] for key in ("text", "classes") if key in lists}
    changes |= {"answers": kind} if kind else {}
    if said := values.get("description"):
        each = said if isinstance(said, list | tuple) else [said]
        changes["description"] = tuple(_as_text("description", wording) for wording in each)
    changes |= {"split_seed": _as_number(values["split_seed"])} if "split_seed" in values else {}
    return replace(task, **changes)


def _flattened_reading(reading: Any) -> dict[str, Any]:
    """Return the fields of `reading` as an entry's own keys.

    Raises:
        InputError: it is no mapping, or has other keys.
    """
    if not isinstance(reading, Mapping):
        raise InputError(f"reading is {reading!r}: write keys below it, such as encoding.")
    _check_keys(reading, ("columns", "encoding", "skip_bad_rows"), "reading")
    return dict(reading)


def _as_text(key: str, value: Any) -> str:
    """Return a value as text; numbers are written out.

    Raises:
        InputError: it is neither a text nor a number.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{key} is {value!r}: it should be a text; write yes, no and dates in quotation marks.")
    return str(value)


def _as_list(key: str, value: Any) -> tuple[str, ...]:
    """Return a list of texts, or a text with commas as one.

    Raises:
        InputError: a value is neither a text nor a number.
    """
    if isinstance(value, list | tuple):
        return tuple(_as_text(key, item) for item in value)
    return tuple(part.strip() for part in _as_text(key, value).split(",") if part.strip())


def _as_number(value: Any) -> int:
    """Return the seed of a share of rows.

    Raises:
        InputError: it is no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"split_seed is {value!r}: it should be a whole number.")
    return value


def _in_folder(task: "SingleTask", folder: Path | None) -> "SingleTask":
    """Return a task whose relative paths begin at a folder, after a look whether its files are there.

    Raises:
        InputError: there is no such task of the package, or files are not there.
    """
    from hyperadapters.runs import NamedTask, task_definitions
    from hyperadapters.tasks import absolute_place, check_places

    if isinstance(task, NamedTask):
        placed = replace(task, data=str(folder / task.data)) if folder and task.data else task
        task_definitions(placed)
        return placed
    places: dict[str, Any] = {"train": task.train, "validation": task.validation, "test": task.test}
    if folder:
        places = {split: absolute_place(place, folder) for split, place in places.items() if place}
        task = replace(task, **places)
    check_places(places.values())
    return task


def _task_from_json(values: Mapping[str, Any], seed: int) -> "SingleTask":
    """Return a task from its JSON, in which fields with a default may be left out.

    Raises:
        InputError: there is no such type of task, or fields are missing or wrong.
    """
    from hyperadapters._utils import settings
    from hyperadapters.runs import TASK_CHOICES, MixtureTask

    kind = str(values["type"])
    if kind not in TASK_CHOICES:
        raise InputError(f"type {kind!r}: there is no such type of task. {neighbours(kind, TASK_CHOICES)}")
    cls = TASK_CHOICES[kind]
    if cls is MixtureTask:
        raise InputError("type mixture: a mixture holds no mixture; list its tasks here.")
    found = settings.parse(cls, {k: v for k, v in _with_defaults(values, seed).items() if k != "type"}, "")
    assert not isinstance(found, MixtureTask)
    return found


def _with_defaults(task: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the JSON of a task with the fields that it leaves out and that have a default.

    Args:
        task: as the file has it.
        seed: the default of `split_seed`, where a share of the training rows validates.
    """
    from hyperadapters._utils import settings
    from hyperadapters.runs import TASK_CHOICES
    from hyperadapters.tasks import Reading, share_of

    cls = TASK_CHOICES.get(str(task.get("type")))
    known = fields(cls) if cls else ()
    plain = {f.name: f.default for f in known if f.default is not MISSING}
    made = {f.name: f.default_factory() for f in known if f.default_factory is not MISSING}
    found = {**plain, **made, **task}
    if isinstance(found.get("reading"), Reading):
        found["reading"] = settings.dump(found["reading"])
    elif isinstance(found.get("reading"), Mapping):
        found["reading"] = {**settings.dump(Reading()), **found["reading"]}
    if "split_seed" in plain and "split_seed" not in task and share_of(str(task.get("validation", ""))):
        found["split_seed"] = seed
    return found
