"""The task of a run as data: a named task, own files, conversations, or a mixture."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, absolute_path, collect_errors, expand_path, few_names, settings
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
    """SHA-256 of each file by its split, and of the labels under `labels`. A run fills them in; one that is given them
    refuses other data."""

    def __post_init__(self) -> None:
        """Raise InputError if a value is of a wrong type."""
        settings.check(self, "task")


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
        super().__post_init__()
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
    (`score`), a tag for each word (`tags`) or a part of the text (`span`)."""
    classes: tuple[str, ...] = ()
    """All classes, labels or tags, in order; empty: those that occur in the training rows."""
    separator: str = ""
    """What stands between the labels of a row; empty: they are lists."""
    description: tuple[str, ...] = ()
    """What is asked, in one or several wordings, each complete, for methods that write adapters from it."""

    def __post_init__(self) -> None:
        """Raise InputError for a template that is malformed, or what any own files cannot have."""
        if isinstance(self.text, str):
            raise InputError(f"text={self.text!r}: give a tuple of columns, ({self.text!r},).")
        super().__post_init__()
        if self.template:
            template_fields(self.template)


@dataclass(frozen=True, kw_only=True)
class InstructionsTask(_OwnFiles):
    """The user's own files of conversations, or of prompts and responses (`instruction_task`)."""


SingleTask = NamedTask | FilesTask | InstructionsTask
"""A task of a mixture, or the only one of a run."""

_SINGLE_TASKS: dict[str, type[SingleTask]] = {
    "named": NamedTask,
    "files": FilesTask,
    "instructions": InstructionsTask,
}


@dataclass(frozen=True, kw_only=True)
class MixtureTask:
    """Several tasks, trained together in one Delta: tasks of the package, and own files."""

    tasks: tuple[SingleTask, ...] = field(metadata=settings.one_of(_SINGLE_TASKS))
    """Each with a name of its own; own files without one are given that of their training file."""
    temperature: float = 10.0
    """T of p ∝ (N/ΣN)^(1/T), with which a batch's task is drawn (`Mixture`)."""

    def __post_init__(self) -> None:
        """Name every task.

        Raises:
            InputError: two have one name, a name is none that a task can have, or JSON cannot hold the temperature.
        """
        settings.check(self, "task")
        if not math.isfinite(self.temperature):
            raise InputError(f"task.temperature={self.temperature}: a number, such as 10; 1e9 draws all tasks alike.")
        object.__setattr__(self, "tasks", tuple(replace(task, name=task_name(task)) for task in self.tasks))
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice or not self.tasks:
            raise InputError(
                f"a mixture holds each task once, by its name; given: {few_names(self.names)}. Give own files a name."
            )

    @staticmethod
    def named(*names: str, data: str = "", temperature: float = 10.0) -> "MixtureTask":
        """Return a mixture of tasks of the package.

        Args:
            names: that `hyperadapters tasks` lists.
            data: the folder with the official files of all of them; empty: they come from the Hugging Face Hub.
            temperature: with which a batch's task is drawn.
        """
        mixture = MixtureTask(tasks=tuple(NamedTask(name=name) for name in names), temperature=temperature)
        return replace(mixture, tasks=entries_of(with_official_files(mixture, data))) if data else mixture

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its tasks, in order."""
        return tuple(task.name for task in self.tasks)

    @property
    def checksums(self) -> dict[str, str]:
        """The checksums of all its tasks, by `task.split`."""
        return {f"{task.name}.{split}": found for task in self.tasks for split, found in task.checksums.items()}


TaskChoice = SingleTask | MixtureTask
"""The task of a run."""

TASK_CHOICES: dict[str, type[TaskChoice]] = {**_SINGLE_TASKS, "mixture": MixtureTask}
"""By the `type` that the JSON of an experiment gives them."""


def entries_of(task: TaskChoice) -> tuple[SingleTask, ...]:
    """Return the tasks of a mixture, or the one that there is."""
    return task.tasks if isinstance(task, MixtureTask) else (task,)


def _each_entry(task: TaskChoice, change: Callable[[SingleTask], SingleTask]) -> TaskChoice:
    """Return a task with a change made to it, or to each task of a mixture."""
    if isinstance(task, MixtureTask):
        return replace(task, tasks=tuple(map(change, task.tasks)))
    return change(task)


def with_official_files(task: TaskChoice, data: str) -> TaskChoice:
    """Return a task whose official files lie in a folder; own files stay where they are.

    Args:
        task: whose tasks of the package are meant, of a mixture those that are read from files, or all if none is.
        data: the folder.
    """
    named = [entry for entry in entries_of(task) if isinstance(entry, NamedTask)]
    meant = [entry for entry in named if entry.name not in TASKS or TASKS[entry.name].has_files] or named
    return _each_entry(
        task, lambda entry: replace(entry, data=data) if isinstance(entry, NamedTask) and entry in meant else entry
    )


def training_for(task: TaskChoice) -> dict[str, Any]:
    """Return the settings of training to start from, by name: the papers' for their tasks, steps for own files.

    Few rows want as many updates as many rows do (experiments/own_check.py); a mixture wants them for each task. Rows
    with labels, numbers or short texts want to be passed often (results/own-steps.json), conversations less so.
    """
    entries = entries_of(task)
    if any(isinstance(entry, FilesTask | InstructionsTask) for entry in entries):
        epochs = {"epochs": 8} if any(isinstance(entry, FilesTask) for entry in entries) else {}
        return {"batch_size": 16, **epochs, "min_steps": 300 * len(entries), "patience": 4}
    return {"epochs": task_named(task.name).epochs} if isinstance(task, NamedTask) else {}


def _head_for(task: TaskChoice) -> HeadKind:
    """Return what the task head of an encoder reads for a task.

    Raises:
        InputError: the tasks of a mixture want different heads.
    """
    entries = {entry.name: entry for entry in entries_of(task)}
    answers = {name: entry.answers if isinstance(entry, FilesTask) else "" for name, entry in entries.items()}
    for kind, what in {"tags": "a tag for each word", "span": "a part of the text"}.items():
        asking = [name for name, own in answers.items() if own == kind]
        if asking and len(asking) < len(entries):
            raise InputError(
                f"{few_names(asking)} asks for {what}, the other tasks for other answers: a mixture has one kind of "
                "head. Train them apart."
            )
        if asking:
            return "token"
    return "sequence"


def text_for(task: TaskChoice) -> Text:
    """Return the lengths to start from: the papers' for their tasks, longer ones for instructions and free text.

    Those of a mixture are the longest of its tasks.
    """
    found = [_text_of(entry) for entry in entries_of(task)]
    return Text(
        source_length=max(text.source_length for text in found), target_length=max(text.target_length for text in found)
    )


def _text_of(task: SingleTask) -> Text:
    if isinstance(task, InstructionsTask):
        return Text(source_length=512, target_length=256)
    if isinstance(task, FilesTask) and task.answers == "span":
        return Text(source_length=384, target_length=32)
    return Text(target_length=64) if isinstance(task, FilesTask) and task.answers in ("text", "labels") else Text()


def task_definitions(task: TaskChoice) -> list[tuple[Task, Path | None]]:
    """Return the task, or all tasks of a mixture, each with the folder of its official files, if any.

    Raises:
        InputError: there is no such task, there are no such files, a folder is given and no task has files, or rows
            of own files do not say which classes there are; all of them in one error.
    """
    found = collect_errors(_definition_of, entries_of(task))
    folders = [str(folder) for _, folder in found if folder]
    if folders and not any(definition.has_files for definition, folder in found if folder):
        names = few_names(definition.form.name for definition, folder in found if folder)
        raise InputError(f"--data {folders[0]} is for official files, and {names} needs none: leave --data out.")
    return found


def _definition_of(task: SingleTask) -> tuple[Task, Path | None]:
    """Return a task and the folder of its official files, if any.

    Raises:
        InputError: as `task_definitions`.
    """
    if isinstance(task, NamedTask):
        return task_named(task.name), expand_path(task.data) if task.data else None
    how: dict[str, Any] = {"name": task_name(task), "reading": task.reading, "split_seed": task.split_seed}
    if isinstance(task, InstructionsTask):
        return instruction_task(_places(task), **how), None
    how |= {"answers": task.answers, "template": task.template, "classes": task.classes, "separator": task.separator}
    how["wordings"] = task.description
    return own_task(_places(task), task.text, task.answer, **how), None


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
