"""Tasks from a user's own files."""

from pathlib import Path

from hyperadapters._utils import InputError, expand_path
from hyperadapters.tasks.metrics import accuracy, exact_match, macro_f1, token_f1
from hyperadapters.tasks.readers import _read_rows
from hyperadapters.tasks.sources import _OwnFiles
from hyperadapters.tasks.splits import _as_given
from hyperadapters.tasks.targets import Labels, _FreeText
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import TaskFormat


def own_task(files: dict[str, Path], fields: tuple[str, ...], answer: str, *, classify: bool, name: str) -> Task:
    """Return a task from your own files of rows.

    Args:
        files: the file of train, of validation and perhaps of test: JSONL (plain or .gz), CSV, TSV or Parquet.
        fields: the columns of the source text, in order.
        answer: the column of the answer.
        classify: whether the answers are classes, those that occur in the training rows; otherwise they are any text.
        name: the task's name in results and in the saved adapter.

    Raises:
        InputError: a file or column is missing, a column is both text and answer, rows are bad, or there is only one
            class.
    """
    files = {split: expand_path(path) for split, path in files.items()}
    if answer in fields:
        raise InputError(
            f"column {answer!r} is both text and answer: leave it out of the text, or name another answer."
        )
    apart = f"answer to {', '.join(fields)}"  # longer than any of them: a text column may be called `label`
    source = _OwnFiles(files, {**{field: field for field in fields}, apart: answer})
    if not classify:
        return Task(TaskFormat(name, fields, _FreeText()), (exact_match, token_f1), source, _as_given, answer=apart)
    classes = sorted({row.values[answer].strip() for row in _read_rows(files["train"], {answer: answer})})
    if len(classes) < 2:
        raise InputError(
            f"{files['train']}: column {answer!r} holds {len(classes)} class(es) ({', '.join(classes) or 'no rows'}); "
            "classification needs two. For free text use --target instead of --label."
        )
    form = TaskFormat(name, fields, Labels(tuple(classes)))
    return Task(form, (accuracy, macro_f1), source, _as_given, answer=apart)
