"""Instruction data in a user's own files: rows with `messages`, a conversation, or with `prompt` and `response`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hyperadapters._utils import InputError, expand_path, few_names
from hyperadapters.tasks.conversation import _rows_to_learn
from hyperadapters.tasks.metrics import _TEXT_METRICS, exact_match
from hyperadapters.tasks.readers import _columns_of, _read_unfolded
from hyperadapters.tasks.sources import _OwnFiles
from hyperadapters.tasks.splits import _as_given, _Splits
from hyperadapters.tasks.targets import _FreeText
from hyperadapters.tasks.task import Task, _Source
from hyperadapters.tasks.task_format import TaskFormat


@dataclass(frozen=True)
class _Conversations(_Source):
    """A user's own files of conversations, one for each split."""

    files: Mapping[str, Path]

    def read(self, data: Path | None) -> _Splits:
        return {split: _read_unfolded(path, _rows_to_learn) for split, path in self.files.items()}


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
    files = {split: expand_path(path) for split, path in files.items()}
    columns = _columns_of(files["train"])
    if "messages" in columns:
        form = TaskFormat(name, ("messages",), _FreeText(), style="conversation")
        return Task(form, _TEXT_METRICS, _Conversations(files), _as_given, chosen_by=(exact_match,))
    if {"prompt", "response"} <= columns:
        source = _OwnFiles(files, {"prompt": "prompt", "label": "response"})
        form = TaskFormat(name, ("prompt",), _FreeText(), style="bare")
        return Task(form, _TEXT_METRICS, source, _as_given, chosen_by=(exact_match,))
    raise InputError(
        f"{files['train']} has neither messages nor prompt and response; its columns: "
        f"{few_names(sorted(columns))}. For other columns give --text and --label (or --target, --score)."
    )
