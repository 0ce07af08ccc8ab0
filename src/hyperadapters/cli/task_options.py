"""What to train on, from options: tasks of the package, or a user's own files."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperadapters._utils import InputError
from hyperadapters.cli.options import _TaskOptions

if TYPE_CHECKING:
    from hyperadapters.runs import TaskChoice
    from hyperadapters.tasks import AnswerType


_ANSWERS: "dict[str, AnswerType]" = {"label": "label", "target": "text", "score": "score"}
"""What the answers are, by the option that names their column."""


def _split_names(text: str) -> list[str]:
    """Return the names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _choose_named(task: str, data: str) -> "TaskChoice":
    """Return one task of the package, or several together.

    Args:
        task: a name, or several with commas.
        data: the folder with the official files; may be empty.

    Raises:
        InputError: there is no such task or folder, or a task stands there twice.
    """
    from hyperadapters.runs import MixtureTask, NamedTask
    from hyperadapters.tasks import task_named

    names = tuple(_split_names(task))
    for name in names:
        task_named(name)
    if not names or len(set(names)) < len(names):
        raise InputError(f"--task {task}: name each task once, such as demo/paraphrase,demo/sentiment.")
    if data and not Path(data).is_dir():
        raise InputError(f"--data {data}: there is no such folder.")
    return MixtureTask(names=names, data=data) if len(names) > 1 else NamedTask(name=names[0], data=data)


def _choose_files(options: _TaskOptions) -> "TaskChoice":
    """Return a user's own files as the options describe them.

    Raises:
        InputError: options or files are missing, or do not go together.
    """
    from hyperadapters.runs import FilesTask, InstructionsTask

    named = {option: column for option, column in options.answers.items() if column}
    columns = bool(options.text or named)
    missing = [f"--{name}" for name in ("train", "validation") if not options.files[name]]
    if missing or columns:
        missing += [] if options.text else ["--text"]
        missing += [] if named else ["--label (or --target, --score)"]
    if missing:
        raise InputError(f"your own files need {', '.join(missing)} too.")
    if len(named) > 1:
        raise InputError("--label is for classes, --target for free text, --score for numbers: give one of them.")
    _check_files(options.files.values())
    files: dict[str, Any] = options.files
    if not columns:
        return InstructionsTask(**files)
    return FilesTask(
        **files,
        text=tuple(_split_names(options.text)),
        answer=next(iter(named.values())),
        answers=_ANSWERS[next(iter(named))],
    )


def _check_files(paths: Iterable[str]) -> None:
    """Raise InputError unless files are there; empty paths name none."""
    absent = [path for path in paths if path and not Path(path).is_file()]
    if absent:
        found = "does not exist" if len(absent) == 1 else "do not exist"
        raise InputError(f"{', '.join(absent)} {found} (looked in {Path.cwd()}).")
