"""Instruction data in a user's own files: rows with `messages`, a conversation, or with `prompt` and `response`."""

from collections.abc import Mapping
from pathlib import Path

from hyperadapters._utils import InputError, few_names
from hyperadapters.tasks.conversation import _rows_to_learn
from hyperadapters.tasks.metrics import _TEXT_METRICS, exact_match
from hyperadapters.tasks.own_rows import _OwnRows, _places_and_split
from hyperadapters.tasks.reading import AS_USUAL, Reading
from hyperadapters.tasks.targets import FreeText
from hyperadapters.tasks.task import Task
from hyperadapters.tasks.task_format import TaskFormat


def instruction_task(
    files: Mapping[str, str | Path], *, name: str, reading: Reading = AS_USUAL, split_seed: int = 42
) -> Task:
    """Return a task from your own files of instructions.

    Every assistant turn of a conversation is learned, from all turns before it, written as the chat template of the
    backbone's tokenizer has it. Prompts and responses are plain text, without a template.

    Args:
        files: the file of train, of validation and perhaps of test, as for `own_task`. JSON or Parquet with `messages`,
            a list of `{"role": "system" | "user" | "assistant", "content": text}`, or any format with `prompt` and
            `response`.
        name: the task's name in results and in the saved adapter.
        reading: how the files are read.
        split_seed: draws the validation rows where `files` has a share of the training rows for them; the turns of a
            conversation stay together.

    Raises:
        InputError: a file is missing, or its rows have neither kind of columns.
    """
    places, split = _places_and_split(files, split_seed)
    columns = _OwnRows(places=places, reading=reading).first_columns()
    if "messages" in columns:
        form = TaskFormat(name, ("messages",), FreeText(), style="conversation")
        source = _OwnRows(places=places, reading=reading, unfold=_rows_to_learn)
    elif {"prompt", "response"} <= {*columns}:
        form = TaskFormat(name, ("prompt",), FreeText(), style="bare")
        source = _OwnRows(places=places, reading=reading, columns={"prompt": "prompt", "label": "response"})
    else:
        raise InputError(
            f"{places['train']} has neither messages nor prompt and response; its columns: {few_names(columns)}. "
            "For other columns give --text and --label (or --target, --score, --tags, --span)."
        )
    return Task(form, _TEXT_METRICS, source, split, chosen_by=(exact_match,))
