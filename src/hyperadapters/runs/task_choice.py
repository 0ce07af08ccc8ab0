"""The task of a run as data: a named task, own files, conversations, or a mixture."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, absolute_path, expand_path, few_names
from hyperadapters.backbones import HeadKind
from hyperadapters.tasks import (
    TASKS,
    AnswerType,
    Reading,
    Task,
    instruction_task,
    is_on_hub,
    own_task,
    parts_of,
    share_of,
    task_named,
    template_fields,
)
from hyperadapters.training import Text


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """What a task says of the data that a run is of."""

    checksums: dict[str, str] = field(default_factory=dict, hash=False)
    """SHA-256 of each file by its split, and of the labels under `labels`; of a mixture, by `task.split`. A run fills
    them in; one that is given them refuses other data."""


@dataclass(frozen=True, kw_only=True)
class NamedTask(_Checked):
    """A task of the package."""

    name: str
    """A name that `hyperadapters tasks` lists."""
    data: str = ""
    """The folder with the official files; empty: they come from the Hugging Face Hub."""


@dataclass(frozen=True, kw_only=True)
class _OwnFiles(_Checked):
    """A user's own files."""

    train: str
    """A file, a pattern such as `data/part-*.jsonl`, several of both with commas between, or a data set of the Hub:
    `hf://owner/name/configuration:split`."""
    validation: str
    """The same; or a share of the training rows, such as `10%`."""
    test: str = ""
    """Scored once at the end; empty: validation is reported."""
    reading: Reading = field(default_factory=Reading)
    """How the files are read."""
    name: str = ""
    """The task's name in results and in the saved adapter; empty: `task_name` makes one of the training file's."""
    split_seed: int = 42
    """Draws the rows of a share. It is the data's, not the training's: runs that differ in `training.seed` alone are
    compared on the same rows, trained together, and go on from each other without a look at rows to validate with."""

    def __post_init__(self) -> None:
        """Raise InputError for a name that no task can have, a share of rows that is none, or a seed that is none."""
        if self.name:
            _check_name(self.name)
        share_of(self.validation)
        for split, place in {"train": self.train, "test": self.test}.items():
            if share_of(place):
                raise InputError(f"{split} {place}: only validation can be a share of the training rows.")
        if not 0 <= self.split_seed < 2**63:
            raise InputError(f"task.split_seed={self.split_seed}: a number from 0 and less than 2**63.")


@dataclass(frozen=True, kw_only=True)
class FilesTask(_OwnFiles):
    """The user's own files with a column for the answer: JSON, CSV, TSV or Parquet."""

    text: tuple[str, ...] = ()
    """The columns of the source, in their order; none with a template."""
    template: str = ""
    """The source text in place of `text`, with columns in braces where their text goes: `Question: {question}`."""
    answer: str
    """The column of the answer."""
    answers: AnswerType
    """What the answers are: classes (`label`), any number of labels a row (`labels`), free text (`text`), numbers
    (`score`) or a tag for each word (`tags`)."""
    classes: tuple[str, ...] = ()
    """All classes or labels, in order; empty: those that occur in the training rows."""
    separator: str = ""
    """What stands between the labels of a row; empty: they are lists."""

    def __post_init__(self) -> None:
        """Raise InputError for a template that is malformed, or what any own files cannot have."""
        super().__post_init__()
        if self.template:
            template_fields(self.template)


@dataclass(frozen=True, kw_only=True)
class InstructionsTask(_OwnFiles):
    """The user's own files of conversations, or of prompts and responses (`instruction_task`)."""


@dataclass(frozen=True, kw_only=True)
class MixtureTask(_Checked):
    """Several tasks of the package, trained together in one Delta."""

    names: tuple[str, ...]
    """Names that `hyperadapters tasks` lists."""
    data: str = ""
    """The folder with the official files of all tasks; empty: they come from the Hugging Face Hub."""
    temperature: float = 10.0
    """T of p ∝ (N/ΣN)^(1/T), with which a batch's task is drawn (`Mixture`)."""

    def __post_init__(self) -> None:
        """Raise InputError for a temperature that JSON cannot hold."""
        if not math.isfinite(self.temperature):
            raise InputError(f"task.temperature={self.temperature}: a number, such as 10; 1e9 draws all tasks alike.")


TaskChoice = NamedTask | FilesTask | InstructionsTask | MixtureTask
"""The task of a run."""

TASK_CHOICES: dict[str, type[TaskChoice]] = {
    "named": NamedTask,
    "files": FilesTask,
    "instructions": InstructionsTask,
    "mixture": MixtureTask,
}
"""By the `type` that the JSON of an experiment gives them."""


def training_for(task: TaskChoice) -> dict[str, Any]:
    """Return the settings of training to start from, by name: the papers' for their tasks, steps for own files.

    Few rows want as many updates as many rows do (experiments/own_check.py).
    """
    if isinstance(task, FilesTask | InstructionsTask):
        return {"batch_size": 16, "min_steps": 500, "patience": 4}
    return {"epochs": task_named(task.name).epochs} if isinstance(task, NamedTask) else {}


def _head_for(task: TaskChoice) -> HeadKind:
    """Return what the task head of an encoder reads for a task."""
    return "token" if isinstance(task, FilesTask) and task.answers == "tags" else "sequence"


def text_for(task: TaskChoice) -> Text:
    """Return the lengths to start from: the papers' for their tasks, longer ones for instructions and free text."""
    if isinstance(task, InstructionsTask):
        return Text(source_length=512, target_length=256)
    return Text(target_length=64) if isinstance(task, FilesTask) and task.answers in ("text", "labels") else Text()


def task_definitions(task: TaskChoice) -> tuple[list[Task], Path | None]:
    """Return the task, or all tasks of a mixture, and the folder of their official files, if any.

    Raises:
        InputError: there is no such task, there are no such files, or a folder is given and no task has files.
    """
    if isinstance(task, NamedTask | MixtureTask):
        names = task.names if isinstance(task, MixtureTask) else (task.name,)
        tasks = [task_named(name) for name in names]
        if task.data and not any(found.has_files for found in tasks):
            raise InputError(
                f"--data {task.data} is for official files, and {few_names(names)} needs none: leave --data out."
            )
        return tasks, expand_path(task.data) if task.data else None
    how: dict[str, Any] = {"name": task_name(task), "reading": task.reading, "split_seed": task.split_seed}
    if isinstance(task, InstructionsTask):
        return [instruction_task(_places(task), **how)], None
    how |= {"answers": task.answers, "template": task.template, "classes": task.classes, "separator": task.separator}
    return [own_task(_places(task), task.text, task.answer, **how)], None


def _places(task: FilesTask | InstructionsTask) -> dict[str, str]:
    """Return where a user's own rows are, by split; the test rows where there are some."""
    given = {"train": task.train, "validation": task.validation, "test": task.test}
    return {split: place for split, place in given.items() if place}


def _check_name(name: str) -> None:
    """Raise InputError unless a task of own files can have a name.

    It becomes part of folders, and stands with others in `--task a,b` and in a result's `a+b`.
    """
    if name in TASKS:
        raise InputError(f"name {name!r}: a task of the package is called so. Use another name for your own files.")
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", name):
        raise InputError(
            f"name {name!r}: write letters, digits, and - _ . / between them, such as reviews or mine/mrpc."
        )


def task_name(task: TaskChoice) -> str:
    """Return the name of a task in results: its own, a mixture's joined by +, or one made of its training file.

    Own files are called by the training file's name without endings, the first one's of several and a pattern's without
    its wildcards; by the folder's name where that is `train` or nothing. Data sets of the Hub are called by their name.
    """
    if isinstance(task, MixtureTask):
        return "+".join(task.names)
    if isinstance(task, NamedTask):
        return task.name
    if task.name:
        return task.name
    if is_on_hub(task.train):
        return re.split(r"[/:]", task.train.removeprefix("hf://").removeprefix("datasets/") + "/")[1]
    train = absolute_path(parts_of(task.train)[0] if parts_of(task.train) else task.train)
    stem = re.sub(r"\[.*?\]|[*?]", "", train.name.split(".")[0]).strip("-_ ")
    return train.parent.name if stem in ("train", "") else stem
