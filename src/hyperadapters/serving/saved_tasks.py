"""The task that a saved adapter answers: its form, its lengths, and how it was answered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, few_names, resolve_task, settings
from hyperadapters.delta import CONFIG
from hyperadapters.tasks import FreeText, TaskFormat
from hyperadapters.training import Evaluation, Text


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
        lengths = int(task["source_length"]), int(task["target_length"])
        text = Text(source_length=lengths[0], target_length=lengths[1], prefix=bool(task["prefix"]))
        answered = {key: task[key] for key in ("decode", "beams", "generation_config")}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the task in {folder}/{CONFIG} is damaged: {error!r}.") from error
    return TaskFormat.from_json(task), text, settings.updated(Evaluation(), answered, f"{folder}/{CONFIG}: task")


def _embedding_task(config: Mapping[str, Any]) -> tuple[TaskFormat, Text, Evaluation] | None:
    """Return the task of an adapter without a task and a head, as `saved_task` does: a text whose vector is wanted.

    Args:
        config: the adapter's `adapter_config.json`.
    """
    if config["backbone"]["head"] != "none" or config["tasks"] or config.get("task"):
        return None
    return TaskFormat("embedding", ("text",), FreeText(), style="bare"), Text(), Evaluation()


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
