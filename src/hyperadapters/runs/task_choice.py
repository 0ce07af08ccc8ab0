"""The task of a run as data: a named task, own files, conversations, or a mixture."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from hyperadapters._utils import InputError, absolute_path, expand_path
from hyperadapters.tasks import AnswerType, Task, instruction_task, own_task, task_named
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
class FilesTask(_Checked):
    """The user's own files: JSONL, CSV, TSV or Parquet."""

    train: str
    validation: str
    test: str = ""
    """Scored once at the end; empty: validation is reported."""
    text: tuple[str, ...]
    """The columns of the source, in their order."""
    answer: str
    """The column of the answer."""
    answers: AnswerType
    """What the answers are: classes (`label`), free text (`text`) or numbers (`score`)."""


@dataclass(frozen=True, kw_only=True)
class InstructionsTask(_Checked):
    """The user's own files of conversations, or of prompts and responses (`instruction_task`)."""

    train: str
    validation: str
    test: str = ""


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


def text_for(task: TaskChoice) -> Text:
    """Return the lengths to start from: the papers' for their tasks, longer ones for instructions and free text."""
    if isinstance(task, InstructionsTask):
        return Text(source_length=512, target_length=256)
    return Text(target_length=64) if isinstance(task, FilesTask) and task.answers == "text" else Text()


def task_definitions(task: TaskChoice) -> tuple[list[Task], Path | None]:
    """Return the task, or all tasks of a mixture, and the folder of their official files, if any.

    Raises:
        InputError: there is no such task, or there are no such files.
    """
    if isinstance(task, NamedTask | MixtureTask):
        names = task.names if isinstance(task, MixtureTask) else (task.name,)
        return [task_named(name) for name in names], expand_path(task.data) if task.data else None
    files = _own_files(task)
    if isinstance(task, InstructionsTask):
        return [instruction_task(files, name=task_name(task))], None
    return [own_task(files, task.text, task.answer, answers=task.answers, name=task_name(task))], None


def _own_files(task: FilesTask | InstructionsTask) -> dict[str, Path]:
    """Return a user's own files by split; the test file where there is one."""
    given = {"train": task.train, "validation": task.validation, "test": task.test}
    return {split: expand_path(path) for split, path in given.items() if path}


def task_name(task: TaskChoice) -> str:
    """Return the name of a task in results: its own, a mixture's joined by +, or one made of its training file.

    Own files are called by the training file's name without endings; by the folder's name where that is `train`.
    """
    if isinstance(task, MixtureTask):
        return "+".join(task.names)
    if isinstance(task, NamedTask):
        return task.name
    train = absolute_path(task.train)
    stem = train.name.split(".")[0]
    return train.parent.name if stem == "train" else stem
