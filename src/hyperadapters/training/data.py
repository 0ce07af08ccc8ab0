"""Tasks and a tokenizer to batches: encoding, and grouping by length."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError
from hyperadapters.backbones import BackboneKind
from hyperadapters.delta import Delta
from hyperadapters.tasks import Example, Labels, Metric, Task, TaskFormat, permutation, task_named
from hyperadapters.training.encoded import Cut, Encoded
from hyperadapters.training.encodings import ENCODINGS


@dataclass(frozen=True, kw_only=True)
class Text:
    """How rows become tokens."""

    source_length: int = 128
    """Longest source, in tokens; longer ones are cut, and counted."""
    target_length: int = 16
    """Longest target, in tokens, in training and in generation; longer ones are cut, and counted."""
    prefix: bool = False
    """Write the task's name before the source."""
    train_rows: int | None = None
    """Train on so many rows, drawn by the run's seed; None: on all. Of a mixture, on at most so many of each task."""
    evaluation_rows: int | None = None
    """Judge by at most so many rows of each other split, the same ones whatever the seed; None: by all."""


@dataclass(frozen=True)
class Data:
    """A task's rows in tokens, with what is needed to read answers back."""

    form: TaskFormat
    metrics: tuple[Metric, ...]
    tokenizer: Any
    text: Text
    splits: dict[str, list[Encoded]]
    references: dict[str, list[Any]]
    """What metrics compare the answers with, by split."""
    truncated: dict[str, int] = field(default_factory=dict)
    """Rows whose source was cut to the limit, by split."""
    truncated_targets: dict[str, int] = field(default_factory=dict)
    """Rows whose target was."""
    kind: BackboneKind = "encoder-decoder"
    """The kind of backbone that the rows were put in tokens for."""
    available: dict[str, int] = field(default_factory=dict)
    """Number of rows that the task has in each split, before `text` limits them."""


@dataclass(frozen=True)
class Mixture:
    """Several tasks to train on together: batches mix them, evaluations score each."""

    tasks: tuple[Data, ...]
    temperature: float = 10.0
    """T of p ∝ (N/ΣN)^(1/T): 1 draws tasks by their size, a large one all alike (HyperFormer, §3: 10)."""

    def __post_init__(self) -> None:
        """Refuse tasks that cannot be trained together, and temperatures that mean nothing."""
        if not self.temperature > 0:
            raise InputError(f"temperature={self.temperature}: more than 0, such as 10; 1 draws tasks by their size.")
        names = [data.form.name for data in self.tasks]
        if not names or len(set(names)) < len(names):
            raise InputError(f"a mixture holds each task once; given: {', '.join(names) or 'none'}.")
        empty = [data.form.name for data in self.tasks if not data.splits["train"]]
        if empty:
            raise InputError(f"{' and '.join(empty)}: no training rows.")
        heads = {data.form.name: classes(data.form) for data in self.tasks if data.kind == "encoder"}
        if len(set(heads.values())) > 1:
            found = ", ".join(f"{name} {count}" for name, count in heads.items())
            raise InputError(f"one Delta's heads have as many outputs for every task; these need: {found}.")


def tasks_of(data: Data | Mixture) -> tuple[Data, ...]:
    """The tasks of a mixture, or the one that there is."""
    return data.tasks if isinstance(data, Mixture) else (data,)


def training_rows(data: Data | Mixture) -> list[Encoded]:
    """The training rows of all tasks, one task after the other, each with the name of its task."""
    return [row._replace(task=part.form.name) for part in tasks_of(data) for row in part.splits["train"]]


def classes(form: TaskFormat) -> int:
    """How many classes the answers have; 1 where they are numbers."""
    return len(form.target.texts) if isinstance(form.target, Labels) else 1


def load_data(
    task: str | Task,
    tokenizer: Any,
    folder: str | Path | None = None,
    text: Text | None = None,
    *,
    kind: BackboneKind = "encoder-decoder",
    seed: int = 42,
    at_most: bool = False,
) -> Data:
    """A task's rows in tokens, ready for `fit` and `evaluate`.

    Args:
        task: a name out of `TASKS`, or a task such as `own_task` makes.
        tokenizer: the backbone's.
        folder: where the official files lie; without one the Hugging Face Hub is asked (demo tasks need neither).
        text: lengths and form; `Text()` by default.
        kind: the backbone's: `delta.structure.kind`.
        seed: draws the training rows where `text.train_rows` asks for fewer than all.
        at_most: take all rows where there are fewer than `text.train_rows`, as in a mixture.

    Raises:
        InputError: no such task, files missing or damaged, answers that are none, an empty split, or answers that
            this kind of backbone cannot give.
    """
    text = text or Text()
    if text.source_length < 2 or text.target_length < 2:
        raise InputError("text.source_length and text.target_length are 2 tokens at least.")
    task = task_named(task) if isinstance(task, str) else task
    examples = task.examples(Path(folder) if folder else None, prefix=text.prefix)
    available = {split: len(rows) for split, rows in examples.items()}
    examples = limited(examples, text, task.form.name, seed, at_most=at_most)
    encoded, sources, targets = {}, {}, {}
    for split, rows in examples.items():
        encoded[split], (sources[split], targets[split]) = encode(rows, task.form, tokenizer, text, kind)
    references = {split: [row.reference for row in rows] for split, rows in examples.items()}
    return Data(task.form, task.metrics, tokenizer, text, encoded, references, sources, targets, kind, available)


def limited(
    examples: dict[str, list[Example]], text: Text, task: str, seed: int, *, at_most: bool
) -> dict[str, list[Example]]:
    """A task's rows by split, as many as `text` asks for.

    Raises:
        InputError: fewer than one row is asked for, or, unless `at_most`, more than there are to train on.
    """
    train, others = examples["train"], {split: rows for split, rows in examples.items() if split != "train"}
    if text.train_rows is not None:
        if text.train_rows < 1 or not (at_most or text.train_rows <= len(train)):
            raise InputError(
                f"text.train_rows={text.train_rows}: {task} has {len(train)} training rows; take 1 to {len(train)}."
            )
        train = drawn(train, text.train_rows, seed)
    if text.evaluation_rows is not None:
        if text.evaluation_rows < 1:
            raise InputError(f"text.evaluation_rows={text.evaluation_rows}: 1 or more.")
        others = {split: drawn(rows, text.evaluation_rows, 0) for split, rows in others.items()}
    return {"train": train, **others}


def drawn(rows: Sequence[Example], count: int, seed: int) -> list[Example]:
    """At most so many of the rows, at random."""
    return [rows[i] for i in permutation(len(rows), seed)[:count]]


def encode(
    rows: Sequence[Example], form: TaskFormat, tokenizer: Any, text: Text, kind: BackboneKind
) -> tuple[list[Encoded], Cut]:
    """Rows in tokens, and how many were cut."""
    return ENCODINGS[kind].encode(rows, form, tokenizer, text.source_length, text.target_length)


def using_tasks_of(delta: Delta, rows: Sequence[Encoded]) -> AbstractContextManager[Any]:
    """The context in which each row uses its task's adapter; nothing where the Delta has but one for all."""
    return delta.rows([row.task for row in rows]) if delta.tasks else nullcontext()
