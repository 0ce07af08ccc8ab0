"""A task's rows in tokens: one task (`Data`) or several (`Mixture`), and how they are loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn

from hyperadapters._utils import InputError, expand_path, few_names, html_table, listed, settings
from hyperadapters.backbones import BackboneKind, kind_of
from hyperadapters.delta import MOST_EXAMPLES, write_example
from hyperadapters.tasks import Example, Metric, Task, TaskFormat, check_metrics, permutation, task_named
from hyperadapters.training.encoded import Encoded, _Cut
from hyperadapters.training.encodings import ENCODINGS
from hyperadapters.training.label_checks import _check_labels, _count_unwritable


@dataclass(frozen=True, kw_only=True)
class Text:
    """How rows become tokens, how many rows are used, and what a head reads of them."""

    source_length: int = 128
    """Longest source, in tokens; longer ones are cut, and counted."""
    target_length: int = 16
    """Longest target, in tokens, in training and in generation; longer ones are cut, and counted."""
    prefix: bool = False
    """Write the task's name before the source."""
    train_rows: int | None = None
    """Training rows to use, drawn by the run's seed; None: all. Of a mixture, at most this many of each task."""
    evaluation_rows: int | None = None
    """Rows of each other split to use at most, the same ones whatever the seed; None: all."""
    pooling: Literal["auto", "model", "first", "mean"] = "auto"
    """What the task head of an encoder reads, as for `ha.attach`; "auto": what the backbone was trained for, where
    files of sentence-transformers beside its weights say so, else "model"."""

    def __post_init__(self) -> None:
        """Raise InputError if a value is of a wrong type, a length holds no text, or a number of rows is below 1."""
        settings.check(self, "text")
        least = {"source_length": 2, "target_length": 2, "train_rows": 1, "evaluation_rows": 1}
        numbers = {name: getattr(self, name) for name in least}
        bad = [
            f"text.{name}={number}: must be {least[name]} or more"
            for name, number in numbers.items()
            if number is not None and number < least[name]
        ]
        if bad:
            raise InputError(listed(bad))


@dataclass(frozen=True)
class Data:
    """A task's rows in tokens, with what is needed to read answers back; `load_data` makes it."""

    form: TaskFormat
    """The form of the task: fields, answers."""
    metrics: tuple[Metric, ...]
    tokenizer: Any
    """The backbone's tokenizer."""
    text: Text
    """Lengths and numbers of rows, as they were asked for."""
    splits: dict[str, list[Encoded]]
    """The rows to use, by split: train, validation and perhaps test."""
    references: dict[str, list[Any]]
    """What metrics compare the answers with, by split, in the order of the rows. Numbers are rounded as targets are,
    but not for an encoder, which learns them as they are."""
    truncated: dict[str, int] = field(default_factory=dict)
    """Number of rows whose source was cut to the limit, by split."""
    truncated_targets: dict[str, int] = field(default_factory=dict)
    """Number of rows whose target was cut, by split."""
    kind: BackboneKind = "encoder-decoder"
    """The kind of backbone that the rows were encoded for."""
    available: dict[str, int] = field(default_factory=dict)
    """Number of rows that the task has in each split, before `text.train_rows` or `text.evaluation_rows` cut it."""
    unwritable_targets: dict[str, int] = field(default_factory=dict)
    """Number of rows, by split, whose target the tokenizer does not give back as it is written: it holds unknown
    tokens, special ones, or white space that is lost. No answer of this backbone equals it to the letter."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Number of bad rows that were left out, by split (`Reading.skip_bad_rows`)."""
    chosen_by: tuple[Metric, ...] = ()
    """As in `Task`: the metrics that choose the best weights; none: all of them."""
    dataset: dict[str, str] = field(default_factory=dict)
    """As in `Task`: the data set of the Hub that has the rows."""
    wordings: tuple[str, ...] = ()
    """As in `Task`: descriptions of what is asked."""
    examples: tuple[str, ...] = ()
    """The first training rows with their answers, as a Delta reads them that knows tasks by examples."""

    def __repr__(self) -> str:
        """Return the task and the numbers of rows, not the rows."""
        return f"Data(task={self.form.name!r}, kind={self.kind!r}, rows={_row_counts(self)})"

    def _repr_html_(self) -> str:
        """Return the same as a table for notebooks."""
        metrics = ", ".join(metric.__name__ for metric in self.metrics)
        cut = {split: count for split, count in self.truncated.items() if count}
        rows = {"for": self.kind, "rows": _row_counts(self), "metrics": metrics, "cut sources": cut}
        return html_table(f"Data: {self.form.name}", rows)


@dataclass(frozen=True)
class Mixture:
    """Several tasks to train on together: batches mix them, evaluations score each."""

    tasks: tuple[Data, ...]
    temperature: float = 10.0
    """T of p ∝ (N/ΣN)^(1/T) (HyperFormer, arXiv:2106.04489v1, §3, which uses 10): with 1 a task is drawn in proportion
    to its size N; the larger T, the more alike."""

    def __post_init__(self) -> None:
        """Raise InputError if the tasks cannot be trained together, or the temperature is not more than 0."""
        if not self.temperature > 0:
            raise InputError(
                f"temperature={self.temperature}: must be more than 0, such as 10; 1 draws tasks by their size."
            )
        names = [data.form.name for data in self.tasks]
        if not names or len(set(names)) < len(names):
            raise InputError(f"a mixture holds each task once; given: {few_names(names)}.")
        heads = {_what_a_head_reads(data) for data in self.tasks}
        if len(heads) > 1:
            raise InputError(
                f"a mixture has one kind of answers on an encoder, these tasks have {few_names(sorted(heads))}: train "
                "them apart."
            )
        empty = [data.form.name for data in self.tasks if not data.splits["train"]]
        if empty:
            raise InputError(f"{few_names(empty)}: no training rows.")

    def __repr__(self) -> str:
        """Return the tasks and their numbers of rows, not the rows."""
        rows = {data.form.name: _row_counts(data) for data in self.tasks}
        return f"Mixture(temperature={self.temperature}, rows={rows})"

    def _repr_html_(self) -> str:
        """Return the same as a table for notebooks."""
        rows = {data.form.name: _row_counts(data) for data in self.tasks}
        return html_table(f"Mixture of {len(rows)} tasks, temperature {self.temperature:g}", rows)


def _what_a_head_reads(data: Data) -> str:
    """Return what the answers of a task are to a head of an encoder; empty on another backbone."""
    if data.kind != "encoder":
        return ""
    return {"tags": "a tag for each word", "span": "a part of the text"}.get(data.form.answers, "one answer to a text")


def _row_counts(data: Data) -> dict[str, int]:
    """Return how many rows are used, by split."""
    return {split: len(rows) for split, rows in data.splits.items()}


def tasks_of(data: Data | Mixture) -> tuple[Data, ...]:
    """Return the tasks of a mixture, or the one that there is."""
    return data.tasks if isinstance(data, Mixture) else (data,)


def training_rows(data: Data | Mixture) -> list[Encoded]:
    """Return the training rows of all tasks, one task after the other, each with the name of its task.

    Of a row whose text is longer than a window, every window is a row.
    """
    return [
        window._replace(task=task.form.name, windows=())
        for task in tasks_of(data)
        for row in task.splits["train"]
        for window in (row, *row.windows)
    ]


def load_data(
    task: str | Task,
    tokenizer: Any,
    folder: str | Path | None = None,
    text: Text | None = None,
    *,
    backbone: nn.Module | None = None,
    seed: int = 42,
    at_most: bool = False,
) -> Data:
    """Load a task's rows and encode them, ready for `fit` and `evaluate`.

    Args:
        task: a name out of `TASKS`, or a task such as `own_task` makes.
        tokenizer: the backbone's tokenizer.
        folder: where the official files lie; None: rows come from the Hugging Face Hub (demo tasks need neither).
        text: lengths in tokens, and numbers of rows; None: `Text()`.
        backbone: what the rows are for; an encoder takes classes or numbers as targets, a decoder continues the
            source. None: an encoder-decoder (text to text).
        seed: draws the training rows where `text.train_rows` asks for fewer than all.
        at_most: take all rows where there are fewer than `text.train_rows`, as in a mixture.

    Raises:
        InputError: there is no such task, files are missing or damaged, answers are not valid ones, a split is empty,
            this kind of backbone cannot give the task's answers, or its tokenizer cannot tell two labels apart, or a
            label is longer than `text.target_length`.
    """
    text = text or Text()
    task = task_named(task) if isinstance(task, str) else task
    check_metrics(task.metrics)
    kind: BackboneKind = "encoder-decoder" if backbone is None else kind_of(backbone.config)
    every = task.examples(expand_path(folder) if folder else None, prefix=text.prefix)
    used = _limit_rows(every, text, task.form.name, seed, at_most=at_most)
    _check_labels(task.form, ENCODINGS[kind], tokenizer, text.target_length)
    encoded, sources, targets, unwritable = {}, {}, {}, {}
    for split, rows in used.items():
        encoded[split], (sources[split], targets[split]) = encode(rows, task.form, tokenizer, text, kind)
        if kind != "encoder":
            unwritable[split] = _count_unwritable(rows, encoded[split], tokenizer, text.target_length)
    exact = kind == "encoder"  # its answers are numbers, not texts of rounded ones
    references = {
        split: [row.number if exact and row.number is not None else row.reference for row in rows]
        for split, rows in used.items()
    }
    available = {split: len(rows) for split, rows in every.items()}
    return Data(
        form=task.form,
        metrics=task.metrics,
        tokenizer=tokenizer,
        text=text,
        splits=encoded,
        references=references,
        truncated=sources,
        truncated_targets=targets,
        kind=kind,
        available=available,
        unwritable_targets=unwritable,
        left_out=task.left_out(),
        chosen_by=task.chosen_by,
        dataset=task.dataset,
        wordings=task.wordings,
        examples=tuple(write_example(row.texts, row.target) for row in used.get("train", [])[:MOST_EXAMPLES]),
    )


def load_examples(task: Task, folder: Path | None, text: Text, *, seed: int) -> dict[str, list[Example]]:
    """Load the rows that `load_data` encodes, by split, as texts.

    Args:
        task: as for `load_data`.
        folder: as for `load_data`.
        text: numbers of rows, and whether the task's name stands before each.
        seed: as for `load_data`.

    Raises:
        InputError: what `load_data` raises of files and rows.
    """
    return _limit_rows(task.examples(folder, prefix=text.prefix), text, task.form.name, seed, at_most=False)


def _limit_rows(
    examples: dict[str, list[Example]], text: Text, task: str, seed: int, *, at_most: bool
) -> dict[str, list[Example]]:
    """Return a task's rows by split, as many as `text` asks for.

    Args:
        examples: all rows by split; of a file that is only scored, there are none to train on.
        text: `train_rows` and `evaluation_rows` are used.
        task: the task's name, for errors.
        seed: draws the training rows.
        at_most: take all training rows where there are fewer than `train_rows`.

    Raises:
        InputError: unless `at_most`, more rows are asked for than there are to train on.
    """
    train, others = examples.get("train"), {split: rows for split, rows in examples.items() if split != "train"}
    if train is not None and text.train_rows is not None:
        if not at_most and text.train_rows > len(train):
            raise InputError(
                f"text.train_rows={text.train_rows}: {task} has {len(train)} training rows; take 1 to {len(train)}."
            )
        train = draw_rows(train, text.train_rows, seed)
    if text.evaluation_rows is not None:
        others = {split: draw_rows(rows, text.evaluation_rows, 0) for split, rows in others.items()}
    return others if train is None else {"train": train, **others}


def draw_rows(rows: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Return at most `count` of the rows, drawn at random by a seed."""
    return [rows[i] for i in permutation(len(rows), seed)[:count]]


def encode(
    rows: Sequence[Example], form: TaskFormat, tokenizer: Any, text: Text, kind: BackboneKind
) -> tuple[list[Encoded], _Cut]:
    """Return rows in tokens for a kind of backbone, and how many were cut to the lengths of `text`."""
    return ENCODINGS[kind].encode(rows, form, tokenizer, text.source_length, text.target_length)
