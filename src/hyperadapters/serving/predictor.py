"""Answers for new texts from a saved adapter: a few, or a file as a stream."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from hyperadapters._utils import SECONDS_BETWEEN_LINES, InputError, Meter, console, resolve_task, settings
from hyperadapters.delta import Delta
from hyperadapters.storage import backbone_of, load, read_config
from hyperadapters.tasks import Example, TaskFormat, asked, iterate_rows, iterate_unfolded
from hyperadapters.training import Evaluation, Text, answer, encode, of_task

ROWS_AT_ONCE = 2048
"""Rows read, sorted by length and answered together when streaming."""


@dataclass
class Predictor:
    """A loaded adapter and all that turns texts into answers."""

    delta: Delta
    tokenizer: Any
    form: TaskFormat
    text: Text
    evaluation: Evaluation
    truncated: int = 0
    """Texts so far that were cut to the length of training."""

    def __call__(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """The answers to rows that hold the form's fields."""
        return self.answers([self.form.example(row, prefix=self.text.prefix) for row in rows])

    @property
    def limit(self) -> str:
        """How long texts may be, in words."""
        return f"{self.text.source_length} tokens, the limit of training"

    def answers(self, examples: list[Example]) -> list[str]:
        """The answers to source texts."""
        if not examples:
            return []
        encoded, cut = encode(examples, self.form, self.tokenizer, self.text, self.delta.structure.kind)
        self.truncated += cut.sources
        with Meter("predict", 0, quiet=True) as meter, of_task(self.delta, self.form):
            return answer(
                self.delta, encoded, self.form, self.tokenizer, self.text.target_length, self.evaluation, meter
            )

    def rows(self, texts: list[str]) -> list[dict[str, Any]]:
        """Rows from bare texts: one each where the task has one field, else one row for all of them.

        Raises:
            InputError: more or fewer texts than the task has fields.
        """
        fields = self.form.fields
        if self.form.style == "conversation":
            return [{fields[0]: [{"role": "user", "content": text}]} for text in texts]
        if len(fields) == 1:
            return [{fields[0]: text} for text in texts]
        if len(texts) != len(fields):
            raise InputError(
                f"task {self.form.name} has {len(fields)} fields ({', '.join(fields)}), but {len(texts)} text(s) were "
                "given. Give one text for each field, or --file with many rows."
            )
        return [dict(zip(fields, texts, strict=True))]

    def file(self, path: Path) -> Iterator[dict[str, Any]]:
        """The rows of a file, each with its `prediction`, in order, as a stream."""
        if self.form.style == "conversation":
            rows = iterate_unfolded(path, asked)
        else:
            rows = iterate_rows(path, {field: field for field in self.form.fields})
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            for row, prediction in zip(chunk, self([row.values for row in chunk]), strict=True):
                yield {**row.values, "prediction": prediction}


def load_predictor(
    folder: str | Path, backbone: str | None = None, evaluation: Evaluation | None = None, *, task: str = ""
) -> Predictor:
    """A saved adapter with its backbone, ready to answer, on the accelerator if there is one.

    Args:
        folder: what `train` wrote.
        backbone: another place to load the same backbone from than the one named in the adapter.
        evaluation: how answers are obtained; None: as in training.
        task: which task to answer, where the adapter holds several; the last part of its name will do.

    Raises:
        InputError: no adapter there, it says no task or does not know this one, or its backbone is missing or another.
    """
    config = read_config(folder)
    form, text, saved = saved_task(config, Path(folder), task)
    model, tokenizer = backbone_of(config, backbone)
    return Predictor(load(folder, model), tokenizer, form, text, evaluation or saved)


def saved_task(config: Mapping[str, Any], folder: Path, name: str = "") -> tuple[TaskFormat, Text, Evaluation]:
    """The form and lengths of the task that an adapter was trained on, or of one of its tasks, and how it was answered.

    Raises:
        InputError: the adapter does not say, holds several and none is named, does not know it, or is damaged.
    """
    task = task_of(config, folder, name)
    if not isinstance(task, dict):
        raise InputError(
            f"the adapter at {folder} does not say its task (it was saved by Delta.save without one), so texts cannot "
            "be put in form. Use it from Python: ha.load(...)."
        )
    try:
        lengths = {key: int(task[key]) for key in ("source_length", "target_length")}
        text = Text(**lengths, prefix=bool(task["prefix"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the task in {folder}/adapter_config.json is damaged: {error!r}.") from error
    how = {key: task[key] for key in ("decode", "beams") if key in task}  # earlier adapters do not say
    return TaskFormat.from_json(task), text, settings.updated(Evaluation(), how, f"{folder}/adapter_config.json: task")


def task_of(config: Mapping[str, Any], folder: Path, name: str) -> Any:
    """What an adapter says of its task, or of the one that is named; the last part of the name will do.

    Raises:
        InputError: it holds several and none is named, or it does not know this one; names those it knows.
    """
    alone, forms = config.get("task"), config.get("forms", {})
    known = {str(alone["name"]): alone} if isinstance(alone, dict) and "name" in alone else dict(forms)
    if not name and not forms:
        return alone
    if not name:
        raise InputError(f"the adapter at {folder} holds several tasks ({', '.join(known)}): say which with --task.")
    whole = resolve_task(name, {**known, **dict.fromkeys(config["tasks"])}, f"the adapter at {folder}")
    return known.get(whole)


class Answering(Protocol):
    """What answers the rows of a file."""

    def file(self, path: Path) -> Iterator[dict[str, str]]:
        """The rows, each with its `prediction`, in order, as a stream."""


def write_predictions(predictor: Answering, source: Path, output: Path) -> int:
    """Answer a whole file into JSONL as a stream; the output appears when it is whole. Returns the rows."""
    temporary = output.with_name(output.name + ".tmp")
    count, shown = 0, time.monotonic()
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for row in predictor.file(source):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
                if time.monotonic() - shown > SECONDS_BETWEEN_LINES:
                    console.print(f"predict  {count:,} rows")
                    shown = time.monotonic()
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return count
