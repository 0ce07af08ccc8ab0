"""What to train on, from options: tasks of the package, or a user's own files."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperadapters._utils import InputError
from hyperadapters.cli.options import _TaskOptions

if TYPE_CHECKING:
    from hyperadapters.runs import FilesTask, InstructionsTask, TaskChoice
    from hyperadapters.tasks import AnswerType, Reading


_ANSWERS: "dict[str, AnswerType]" = {
    "label": "label",
    "target": "text",
    "score": "score",
    "tags": "tags",
    "span": "span",
}
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
        InputError: there is no such task or folder, a folder is given and the tasks have no files, or a task stands
            there twice.
    """
    from hyperadapters.runs import MixtureTask, NamedTask, task_definitions

    names = tuple(_split_names(task))
    if not names or len(set(names)) < len(names):
        raise InputError(f"--task {task}: name each task once, such as demo/paraphrase,demo/sentiment.")
    if data and not Path(data).is_dir():
        raise InputError(f"--data {data}: there is no such folder.")
    choice = MixtureTask.named(*names, data=data) if len(names) > 1 else NamedTask(name=names[0], data=data)
    task_definitions(choice)
    return choice


def _choose_files(options: _TaskOptions, seed: int) -> "FilesTask | InstructionsTask":
    """Return a user's own files as the options describe them.

    Args:
        options: of the command line.
        seed: draws the validation rows where they are a share of the training rows.

    Raises:
        InputError: options or files are missing, or do not go together.
    """
    from hyperadapters.runs import FilesTask, InstructionsTask
    from hyperadapters.tasks import Reading, check_places, share_of, template_fields

    named = {option: column for option, column in options.answers.items() if column}
    options = replace(options, text="question,context") if options.span and not options.text else options
    columns = bool(options.text or options.template or named or options.labels or options.separator)
    wanted = {"train": "--train", "validation": "--validation (a file, or 10%)"}
    missing = [option for name, option in wanted.items() if not options.files[name]]
    for name in ("train", "test"):
        if share_of(options.files[name]):
            raise InputError(f"--{name} {options.files[name]}: only --validation can be a share of the training rows.")
    if missing or columns:
        missing += [] if options.text or options.template else ["--text (or --template)"]
        missing += [] if named else ["--label (or --target, --score, --tags, --span)"]
    if missing:
        raise InputError(f"your own files need {', '.join(missing)} too.")
    if len(named) > 1:
        raise InputError(
            "--label is for classes, --target for free text, --score for numbers, --tags for a tag a word, --span for "
            "a part of the text: give one of them."
        )
    if options.text and options.template:
        raise InputError("--template names its columns itself: leave --text out, or --template.")
    if options.labels and not (options.label or options.tags):
        raise InputError(f"--labels {options.labels} goes with --label or --tags, the column of what it names.")
    if options.separator and not options.label:
        raise InputError(f"--separator {options.separator} goes with --label, the column of the labels.")
    if options.data:
        raise InputError(f"--data {options.data} is for tasks of the package; --train names files of your own.")
    check_places(options.files.values())
    if options.template:
        template_fields(options.template)
    reading = Reading(
        columns=tuple(_split_names(options.columns)),
        encoding=options.encoding,
        skip_bad_rows=options.skip_bad_rows,
    )
    common: dict[str, Any] = {**options.files, "name": options.name, "reading": reading}
    if share_of(options.validation):
        common["split_seed"] = seed
    if not columns:
        return InstructionsTask(**common)
    return FilesTask(
        **common,
        text=tuple(_split_names(options.text)),
        template=options.template.replace("\\n", "\n").replace("\\t", "\t"),  # as a shell leaves them
        **_describe_answer(options, named, reading),
    )


def _describe_answer(options: _TaskOptions, named: dict[str, str], reading: "Reading") -> dict[str, Any]:
    """Return what the options say of the answers, as arguments of `FilesTask`.

    Args:
        options: of the command line.
        named: the one option that names the column of the answer, and the column.
        reading: how the files are read.

    Raises:
        InputError: there is no such file of labels, or it names none.
    """
    from hyperadapters.tasks import holds_lists, read_labels

    ((option, column),) = named.items()
    is_text = column in _split_names(options.text)  # which `own_task` refuses
    several = option == "label" and not is_text and (options.separator or holds_lists(options.files, column, reading))
    classes = read_labels(options.labels) if options.labels else ()
    if options.labels and not classes:
        raise InputError(f"--labels {options.labels} is empty: name every class, one a line.")
    answers = "labels" if several else _ANSWERS[option]
    return {"answer": column, "answers": answers, "classes": classes, "separator": options.separator}


def _reading_of_file(file: str, columns: str, encoding: str, *, skip_bad_rows: bool = False) -> "Reading":
    """Return how the file of --file is read.

    Raises:
        InputError: there is no file and options of it, or an option is wrong.
    """
    from hyperadapters.tasks import Reading

    given = {"--columns": columns, "--encoding": encoding != "utf-8", "--skip-bad-rows": skip_bad_rows}
    wrong = [option for option, value in given.items() if value and not file]
    if wrong:
        raise InputError(f"{' and '.join(wrong)}: for the rows of --file.")
    return Reading(columns=tuple(_split_names(columns)), encoding=encoding, skip_bad_rows=skip_bad_rows)


def _check_file(file: str) -> None:
    """Raise InputError unless the file of --file is there."""
    from hyperadapters.tasks import files_at, is_on_hub

    if Path(file).is_file():
        return
    if is_on_hub(file):
        raise InputError(f"--file {file}: name a file on this machine, of the rows of that data set.")
    found = files_at(file)
    raise InputError(f"--file {file} means {len(found)} file(s): name one, such as {found[0]}.")
