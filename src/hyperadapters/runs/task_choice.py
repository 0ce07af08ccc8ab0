"""What a run is trained on: a named task, own files, conversations, or a mixture."""

import math
from dataclasses import dataclass
from pathlib import Path

from hyperadapters._utils import InputError
from hyperadapters.tasks import Task, instruction_task, own_task, task_named
from hyperadapters.training import Text


@dataclass(frozen=True, kw_only=True)
class NamedTask:
    """A task of the package."""

    name: str
    """As `hyperadapters tasks` lists it."""
    data: str = ""
    """Folder with the official files; empty: from the Hub."""


@dataclass(frozen=True, kw_only=True)
class FilesTask:
    """A user's own files."""

    train: str
    validation: str
    test: str = ""
    text: tuple[str, ...]
    """Columns of the source."""
    answer: str
    """Column of the answer."""
    classify: bool
    """Whether the answers are classes."""


@dataclass(frozen=True, kw_only=True)
class InstructionsTask:
    """A user's own files of conversations, or of prompts and responses (`instruction_task`)."""

    train: str
    validation: str
    test: str = ""


@dataclass(frozen=True, kw_only=True)
class MixtureTask:
    """Several tasks of the package, trained together in one Delta."""

    names: tuple[str, ...]
    """As `hyperadapters tasks` lists them."""
    data: str = ""
    """Folder with the official files of all of them; empty: from the Hub."""
    temperature: float = 10.0
    """T of p ∝ (N/ΣN)^(1/T), by which tasks are drawn (`Mixture`)."""

    def __post_init__(self) -> None:
        """Refuse what no JSON holds."""
        if not math.isfinite(self.temperature):
            raise InputError(f"task.temperature={self.temperature}: a number, such as 10; 1e9 draws all tasks alike.")


TaskChoice = NamedTask | FilesTask | InstructionsTask | MixtureTask
"""What a run is trained on."""

TASK_CHOICES: dict[str, type[TaskChoice]] = {
    "named": NamedTask,
    "files": FilesTask,
    "instructions": InstructionsTask,
    "mixture": MixtureTask,
}
"""What the JSON of an experiment calls each."""


def text_for(task: TaskChoice) -> Text:
    """The lengths to start from: the papers' for their tasks, longer ones for instructions and for free text."""
    if isinstance(task, InstructionsTask):
        return Text(source_length=512, target_length=256)
    return Text(target_length=64) if isinstance(task, FilesTask) and not task.classify else Text()


def task_definitions(task: TaskChoice) -> tuple[list[Task], Path | None]:
    """The task itself, or all of a mixture, and the folder of their official files.

    Raises:
        InputError: no such task or files.
    """
    if isinstance(task, NamedTask | MixtureTask):
        names = task.names if isinstance(task, MixtureTask) else (task.name,)
        return [task_named(name) for name in names], Path(task.data) if task.data else None
    files = {"train": Path(task.train), "validation": Path(task.validation)}
    if task.test:
        files["test"] = Path(task.test)
    if isinstance(task, InstructionsTask):
        return [instruction_task(files, name=task_name(task))], None
    return [own_task(files, task.text, task.answer, classify=task.classify, name=task_name(task))], None


def task_name(task: TaskChoice) -> str:
    """What results call a task: its name or names, or that of its training file or the folder of `train.*`."""
    if isinstance(task, MixtureTask):
        return "+".join(task.names)
    if isinstance(task, NamedTask):
        return task.name
    train = Path(task.train).absolute()
    stem = train.name.split(".")[0]
    return train.parent.name if stem == "train" else stem
