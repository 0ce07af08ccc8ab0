"""The tasks that saved adapters answer: where each lies, its form, its lengths, and how it was answered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hyperadapters._utils import InputError, few_names, find_files, resolve_task, settings
from hyperadapters.delta import CONFIG
from hyperadapters.storage import Collection, read_config
from hyperadapters.tasks import TaskFormat
from hyperadapters.training import Evaluation, Text


class _AdapterPlace(NamedTuple):
    """Where a task's adapter lies, and the task's name inside it where it holds several."""

    folder: Path
    inner: str = ""


def _find_tasks(folder: Path | Collection) -> dict[str, _AdapterPlace]:
    """Return every task that the adapters in a folder or a repository answer, and where each lies.

    A task is named by its adapter's sub-folder; where an adapter holds several, the task's own name stands behind it.

    Raises:
        InputError: there is no adapter in the folder, or one is damaged.
    """
    if isinstance(folder, Collection):
        return {
            name: _AdapterPlace(folder.folder / place, name[len(place) + 1 :]) for name, place in folder.tasks.items()
        }
    if (folder / CONFIG).is_file():
        return {name: _AdapterPlace(folder, name) for name in read_config(folder)["tasks"]}
    found: dict[str, _AdapterPlace] = {}
    for config in find_files(folder, CONFIG):
        name, tasks = config.parent.relative_to(folder).as_posix(), read_config(config.parent)["tasks"]
        several = {f"{name}/{task}": _AdapterPlace(config.parent, task) for task in tasks}
        found |= several or {name: _AdapterPlace(config.parent)}
    if not found:
        raise InputError(
            f"there is no adapter at {folder}: neither it nor a folder in it has an {CONFIG}. Name a folder that "
            "`train` wrote, or one with such folders in it."
        )
    return found


def saved_task(config: Mapping[str, Any], folder: Path, name: str = "") -> tuple[TaskFormat, Text, Evaluation]:
    """Return the form of the task that an adapter was trained on, its lengths, and how it was answered.

    Args:
        config: the adapter's `adapter_config.json`.
        folder: where the adapter lies, for errors.
        name: which task, of an adapter that holds several; the last part of its name will do.

    Raises:
        InputError: the adapter does not say its task, holds several and none is named, does not know it, or is damaged.
    """
    task = _described_task(config, folder, name)
    if not isinstance(task, dict):
        raise InputError(
            f"the adapter at {folder} does not say its task (it was saved by Delta.save without one), so texts cannot "
            "be put in form. Use it from Python: ha.load(...)."
        )
    try:
        lengths = {key: int(task[key]) for key in ("source_length", "target_length")}
        text = Text(**lengths, prefix=bool(task["prefix"]))
        answered = {key: task[key] for key in ("decode", "beams", "generation_config")}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the task in {folder}/{CONFIG} is damaged: {error!r}.") from error
    return TaskFormat.from_json(task), text, settings.updated(Evaluation(), answered, f"{folder}/{CONFIG}: task")


def answer_column(config: Mapping[str, Any], folder: Path, name: str = "") -> str:
    """Return the column that held the answers in training; `label` or, of prompts, `response` where none is known.

    Args:
        config: the adapter's `adapter_config.json`.
        folder: where the adapter lies, for errors.
        name: which task, as for `saved_task`.

    Raises:
        InputError: as for `saved_task`.
    """
    form, *_ = saved_task(config, folder, name)
    if form.style == "bare":
        return "response"
    return str(_described_task(config, folder, name).get("answer", "label"))


def _described_task(config: Mapping[str, Any], folder: Path, name: str) -> Any:
    """Return the description of an adapter's task, or of the one that is named; None where it has none."""
    alone, forms = config.get("task"), config.get("forms", {})
    known = {str(alone["name"]): alone} if isinstance(alone, dict) and "name" in alone else dict(forms)
    if not name and not forms:
        return alone
    if not name:
        raise InputError(f"the adapter at {folder} holds several tasks ({few_names(known)}): say which with --task.")
    whole = resolve_task(name, {**known, **dict.fromkeys(config["tasks"])}, f"the adapter at {folder}")
    return known.get(whole)
