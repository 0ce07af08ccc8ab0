"""Answers for new texts from one saved adapter: a few, or a file as a stream."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, expand_path, few_names
from hyperadapters.delta import Delta
from hyperadapters.serving.prediction_file import (
    Scored,
    _check_scored,
    answered_row,
    check_unanswered,
    scored_answer,
)
from hyperadapters.serving.saved_tasks import saved_task
from hyperadapters.storage import backbone_of, load, locate_adapter, read_config
from hyperadapters.tasks import AS_USUAL, Example, Reading, TaskFormat, iterate_rows, iterate_unfolded, row_to_answer
from hyperadapters.training import Encoded, Evaluation, Text, answer_rows, encode, probabilities_of_rows

ROWS_AT_ONCE = 2048
"""Rows read, sorted by length and answered together when streaming."""


@dataclass
class Predictor:
    """A loaded adapter with all that turns texts into answers; call it with rows. `load_predictor` makes it."""

    delta: Delta
    tokenizer: Any
    """The backbone's tokenizer."""
    form: TaskFormat
    """The form of the task that is answered."""
    text: Text
    """Lengths in tokens, as in training."""
    evaluation: Evaluation
    """How answers are obtained."""
    truncated: int = 0
    """Texts so far that were cut to the length of training."""

    def __call__(self, rows: Iterable[Mapping[str, Any]]) -> list[Any]:
        """Return the answers to rows, in order: texts, numbers where the task has numbers, or lists of labels.

        Args:
            rows: each holds the form's fields, by name; of a conversation, its turns.

        Raises:
            InputError: a row is no mapping or lacks a field, a conversation is not one, or the Delta is at rest.
        """
        answers = self._answers(self._examples(rows))
        return [self.form.target.present(answer) for answer in answers]

    def probabilities(self, rows: Iterable[Mapping[str, Any]], top: int | None = None) -> list[dict[str, float]]:
        """Return the labels of rows with their probabilities, the likeliest first, in the order of the rows.

        An encoder's are the softmax of its logits, whose first label is the answer, or where a row has any number of
        labels the sigmoid, where those of 1/2 or more are the answer; a text model's are the softmax over the
        log-probabilities of the label strings, whose first label is the answer that label scoring gives.

        Args:
            rows: as for a call.
            top: how many labels of each row to return at most; None: all.

        Raises:
            InputError: the answers are no labels, or `top` is less than 1; or as for a call.
        """
        _check_scored(self.form, encoder=self.delta.structure.kind == "encoder")
        if top is not None and top < 1:
            raise InputError(f"top={top}: must be 1 or more.")
        encoded = self._encoded(self._examples(rows))
        size = self.evaluation.batch_size
        return probabilities_of_rows(self.delta, encoded, self.form, self.tokenizer, size, top) if encoded else []

    def scored(self, rows: Iterable[Mapping[str, Any]], top: int | None = None) -> list[Scored]:
        """Return the answers to rows, in order, each with its likeliest labels and their probabilities.

        Args:
            rows: as for a call.
            top: how many labels of each row to give at most; None: all.

        Raises:
            InputError: as for `probabilities`.
        """
        if top is not None and top < 1:
            raise InputError(f"top={top}: must be 1 or more.")
        return [scored_answer(self.form, shares, top) for shares in self.probabilities(rows)]

    @property
    def limit(self) -> str:
        """The longest texts that are not cut, in words."""
        return f"{self.text.source_length} tokens, the limit of training"

    def _examples(self, rows: Iterable[Mapping[str, Any]]) -> list[Example]:
        """Return rows in the form of the task.

        Raises:
            InputError: as for a call.
        """
        found = [rows] if isinstance(rows, str | Mapping) else [*rows]
        for number, row in enumerate(found):
            if isinstance(rows, str | Mapping) or not isinstance(row, Mapping):
                raise InputError(
                    f"rows are mappings from {few_names(map(repr, self.form.fields))} to texts, in a list. Of bare "
                    "texts rows(texts) makes some: predictor(predictor.rows(['a text']))."
                )
            if missing := [field for field in self.form.fields if field not in row]:
                raise InputError(f"row {number} has no {few_names(map(repr, missing))}; it has {few_names(row)}.")
        return [self.form.example(row, prefix=self.text.prefix) for row in found]

    def _answers(self, examples: list[Example]) -> list[str]:
        encoded = self._encoded(examples)
        how = (self.form, self.tokenizer, self.text.target_length, self.evaluation)
        return answer_rows(self.delta, encoded, *how) if encoded else []

    def _encoded(self, examples: list[Example]) -> list[Encoded]:
        """Return examples in tokens, and count those that are cut."""
        if not examples:
            return []
        encoded, cut = encode(examples, self.form, self.tokenizer, self.text, self.delta.structure.kind)
        self.truncated += cut.sources
        return encoded

    def rows(self, texts: list[str]) -> list[dict[str, Any]]:
        """Return rows made of bare texts: one of each text where the task has one field, else one of all of them.

        Raises:
            InputError: more or fewer texts than the task has fields.
        """
        return rows_of_texts(self.form, texts)

    def file(self, path: Path, *, top: int | None = 0, reading: Reading = AS_USUAL) -> Iterator[dict[str, Any]]:
        """Yield the rows of a JSONL, CSV, TSV or Parquet file in order, with all their columns and a `prediction`.

        Args:
            path: the file.
            top: how many labels of each row to give with their probabilities, as `scores`; None: all.
            reading: how the file is read.

        Raises:
            InputError: no such file, a row is bad, or has a column `prediction` already; names its line. Scores are
                asked for, and the answers are no labels.
        """
        path = expand_path(path)
        rows = rows_of_file(self.form, path, reading)
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            for row in chunk:
                check_unanswered(row.given, row.place, scored=top != 0)
            values = [row.values for row in chunk]
            answers: list[Any] = self(values) if top == 0 else self.scored(values, top)
            for row, answer in zip(chunk, answers, strict=True):
                yield answered_row(row.given, answer)


def rows_of_texts(form: TaskFormat, texts: list[str]) -> list[dict[str, Any]]:
    """Return rows made of bare texts: one of each text where the task has one field, else one of all of them.

    Args:
        form: of the task.
        texts: what is to be answered.

    Raises:
        InputError: more or fewer texts than the task has fields.
    """
    fields = form.fields
    if form.style == "conversation":
        return [{fields[0]: [{"role": "user", "content": text}]} for text in texts]
    if form.style == "words":
        return [{fields[0]: tuple(text.split())} for text in texts]
    if len(fields) == 1:
        return [{fields[0]: text} for text in texts]
    if len(texts) != len(fields):
        raise InputError(
            f"task {form.name} has {len(fields)} fields ({', '.join(fields)}), but {len(texts)} text(s) were "
            "given. Give one text for each field, or --file with many rows."
        )
    return [dict(zip(fields, texts, strict=True))]


def rows_of_file(form: TaskFormat, path: Path, reading: Reading = AS_USUAL) -> Iterator[Any]:
    """Yield the rows of a file that a task can answer, as `iterate_rows` does.

    Args:
        form: of the task.
        path: the file.
        reading: how it is read.

    Raises:
        InputError: no such file, or a row is bad; names its line.
    """
    if form.style == "conversation":
        return iterate_unfolded(path, row_to_answer, reading)
    return iterate_rows(path, {field: field for field in form.fields}, reading, form.lists)


def load_predictor(
    folder: str | Path, backbone: str | None = None, evaluation: Evaluation | None = None, *, task: str = ""
) -> Predictor:
    """Load a saved adapter with its backbone, ready to answer, on the accelerator if there is one.

    Args:
        folder: what `hyperadapters train` wrote, or the name of such an adapter on the Hub, as for `ha.load`.
        backbone: another place to load the same backbone from than the one named in the adapter.
        evaluation: how answers are obtained; None: as in training.
        task: which task to answer, where the adapter holds several; the last part of its name will do.

    Raises:
        InputError: there is no adapter, it says no task or does not know this one, or its backbone is missing or
            another.
    """
    folder = locate_adapter(folder)
    config = read_config(folder)
    form, text, saved = saved_task(config, folder, task)
    model, tokenizer = backbone_of(config, backbone)
    return Predictor(load(folder, model), tokenizer, form, text, evaluation or saved)
