"""Instruction data in a user's own files: rows with `messages`, a conversation, or with `prompt` and `response`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hyperadapters._utils import InputError
from hyperadapters.tasks.conversation import rows_to_learn
from hyperadapters.tasks.metrics import exact_match, token_f1
from hyperadapters.tasks.readers import columns_of, read_unfolded
from hyperadapters.tasks.sources import OwnFiles
from hyperadapters.tasks.splits import Splits, as_given
from hyperadapters.tasks.targets import FreeText
from hyperadapters.tasks.task import Source, Task
from hyperadapters.tasks.task_format import TaskFormat


@dataclass(frozen=True)
class Conversations(Source):
    """A user's own files of conversations, one for each split."""

    files: Mapping[str, Path]

    def read(self, data: Path | None) -> Splits:
        return {split: read_unfolded(path, rows_to_learn) for split, path in self.files.items()}


def instruction_task(files: Mapping[str, Path], *, name: str) -> Task:
    """Return a task from your own files of instructions.

    Every assistant turn of a conversation is learned, from all turns before it, written as the chat template of the
    backbone's tokenizer has it. Prompts and responses are plain text, without a template.

    Args:
        files: the file of train, of validation and perhaps of test. JSONL or Parquet with `messages`, a list of
            `{"role": "system" | "user" | "assistant", "content": text}`, or any format with `prompt` and `response`.
        name: the task's name in results and in the saved adapter.

    Raises:
        InputError: a file is missing, or its rows have neither kind of columns.
    """
    metrics, columns = (exact_match, token_f1), columns_of(files["train"])
    if "messages" in columns:
        form = TaskFormat(name, ("messages",), FreeText(), style="conversation")
        return Task(form, metrics, Conversations(files), as_given)
    if {"prompt", "response"} <= columns:
        source = OwnFiles(files, {"prompt": "prompt", "label": "response"})
        return Task(TaskFormat(name, ("prompt",), FreeText(), style="bare"), metrics, source, as_given)
    raise InputError(
        f"{files['train']} has neither messages nor prompt and response; its columns: "
        f"{', '.join(sorted(columns)) or 'none'}. For other columns give --text and --label (or --target)."
    )
