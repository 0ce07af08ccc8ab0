"""What a task is, as data: where its rows come from, their text, their answers, metrics and split."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch

from hyperadapters._utils import InputError, listed, neighbours
from hyperadapters.tasks.conversation import Turn, read_conversation
from hyperadapters.tasks.metrics import METRICS, Metric
from hyperadapters.tasks.readers import Record

Splits = dict[str, list[Record]]
"""Rows by the name of their split."""


class Example(NamedTuple):
    """One row in text-to-text form."""

    source: str
    target: str
    """What training teaches."""
    reference: Any = None
    """What metrics compare an answer with: the target's value, or what `Task.reference` makes of the row."""
    texts: tuple[str, ...] = ()
    """The source as encoders are pretrained to read it: one text, or a pair."""
    turns: tuple[Turn, ...] = ()
    """The conversation that the target answers; then there is no source text without a tokenizer's chat template."""


class Target(ABC):
    """How an answer is written and read back. Concrete targets are frozen dataclasses."""

    @abstractmethod
    def encode(self, raw: str) -> str | None:
        """The target text of a raw answer, or None if it is not a valid one."""

    @abstractmethod
    def decode(self, text: str) -> Any:
        """The value that metrics compare, from the text of an answer."""

    @abstractmethod
    def expected(self) -> str:
        """In words, what a valid raw answer is."""


@dataclass(frozen=True)
class Labels(Target):
    """A class out of a closed set; metrics see its number, or -1 for an invalid answer."""

    texts: tuple[str, ...]
    """The target text of each class."""
    names: tuple[str, ...] = ()
    """What raw data may call each class, besides its number and its text."""

    def encode(self, raw: str) -> str | None:
        raw = raw.strip()
        if raw in self.texts:
            return raw
        if raw in self.names:
            return self.texts[self.names.index(raw)]
        return None

    def decode(self, text: str) -> int:
        return self.texts.index(text.strip()) if text.strip() in self.texts else -1

    def expected(self) -> str:
        return f"one of {', '.join((*self.names, *self.texts))}"


@dataclass(frozen=True)
class Score(Target):
    """A number rounded to a step and written as text, as T5 does for STS-B; metrics see the number or None."""

    low: float
    high: float
    step: float

    def encode(self, raw: str) -> str | None:
        try:
            value = float(raw)
        except ValueError:
            return None
        return f"{round(value / self.step) * self.step:.1f}" if self.low <= value <= self.high else None

    def decode(self, text: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            return None
        return value if self.low <= value <= self.high else None

    def expected(self) -> str:
        return f"a number from {self.low} to {self.high}"


@dataclass(frozen=True)
class FreeText(Target):
    """Any text; metrics compare strings."""

    def encode(self, raw: str) -> str | None:
        return raw.strip() or None

    def decode(self, text: str) -> str:
        return text.strip()

    def expected(self) -> str:
        return "a text"


PUBLISHED = "-published"
"""Ends the name of a variant that is exactly what the papers' code computed, where that is wrong."""

TARGETS: dict[str, type[Target]] = {"labels": Labels, "score": Score, "text": FreeText}

Style = Literal["named", "bare", "conversation"]
"""Each column after its name; one column's text as it is; or one column's turns, as the tokenizer's chat template has
them."""


@dataclass(frozen=True)
class TaskFormat:
    """The text-to-text form of a task: all that prediction needs, saved with every adapter."""

    name: str
    fields: tuple[str, ...]
    """Columns of the source, in order; each is written `column: value` (Compacter, §4.1)."""
    target: Target
    without_colon: tuple[str, ...] = ()
    """Columns after whose name no colon stands."""
    style: Style = "named"
    """How the columns become the source."""

    @property
    def prefix(self) -> str:
        """The task's name as the published code writes it: mrpc, superglue-copa."""
        return self.name.removeprefix("glue/").replace("/", "-").removesuffix(PUBLISHED)

    def source(self, values: Mapping[str, Any], *, prefix: bool = False) -> str:
        """The source text of a row; with `prefix` the task's name stands before it."""
        return " ".join(([self.prefix] if prefix else []) + self.named(values, self.fields))

    def named(self, values: Mapping[str, Any], fields: tuple[str, ...]) -> list[str]:
        """Some columns of a row, each after its name unless the form is bare."""
        if self.style == "bare":
            return [values[name].strip() for name in fields]
        return [f"{name}{'' if name in self.without_colon else ':'} {values[name].strip()}" for name in fields]

    def texts(self, values: Mapping[str, Any], *, prefix: bool = False) -> tuple[str, ...]:
        """A row as one text or a pair, without names (Houlsby et al., §3.1, after BERT).

        Of three or more columns, all but the first stand in the second text, after their names.
        """
        first, *others = self.fields
        start = " ".join([self.prefix, values[first].strip()] if prefix else [values[first].strip()])
        if len(others) == 1:
            return (start, values[others[0]].strip())
        return (start, " ".join(self.named(values, tuple(others)))) if others else (start,)

    def example(self, values: Mapping[str, Any], target: str = "", reference: Any = None, *, prefix: bool) -> Example:
        """A row in text-to-text form; without a target, one to answer.

        Raises:
            InputError: the form is of conversations, and the row holds none.
        """
        if self.style == "conversation":
            return Example("", target, reference, turns=read_conversation(values[self.fields[0]]))
        texts = self.texts(values, prefix=prefix)
        return Example(self.source(values, prefix=prefix), target, reference, texts)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        kind = next(name for name, cls in TARGETS.items() if cls is type(self.target))
        return {
            "name": self.name,
            "fields": list(self.fields),
            "without_colon": list(self.without_colon),
            "style": self.style,
            "target": {"type": kind, **vars(self.target)},
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "TaskFormat":
        """The form that `to_json` wrote.

        Raises:
            InputError: it is damaged.
        """
        try:
            target = dict(values["target"])
            cls = TARGETS[target.pop("type")]
            arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in target.items()}
            fields, bare = (tuple(map(str, found)) for found in (values["fields"], values["without_colon"]))
            style = values["style"]
            if style not in get_args(Style):
                raise ValueError(f"style {style!r}")
            return TaskFormat(str(values["name"]), fields, cls(**arguments), bare, style)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the task in adapter_config.json is damaged: {error!r}.") from error


class Source(ABC):
    """Where rows come from."""

    @abstractmethod
    def read(self, data: Path | None) -> Splits:
        """All rows by the official name of their split, columns named as the task's fields and its answer."""


Split = Callable[[Splits], Splits]
"""Official splits -> train, validation, test."""

Reference = Callable[[Any, Record], Any]
"""(value of a row's target: a class, a number or a text; the row) -> what metrics compare the answer with."""


def target_value(value: Any, row: Record) -> Any:
    """The value of the target."""
    return value


@dataclass(frozen=True)
class Task:
    """A task as data."""

    form: TaskFormat
    metrics: tuple[Metric, ...]
    source: Source
    split: Split
    epochs: int = 3
    """Epochs of the papers' recipe for it (Compacter, appendix A)."""
    reference: Reference = target_value
    description: str = ""
    """What to know before comparing a score with another's: where rows or text are not the benchmark's own."""
    answer: str = "label"
    """What rows call their answer."""

    def examples(self, data: Path | None, *, prefix: bool = False) -> dict[str, list[Example]]:
        """The task's examples by split: train, validation, test.

        Raises:
            InputError: files missing or damaged, invalid answers (the first ten, with file and line), empty splits.
        """
        rows = self.split(self.source.read(data))
        empty = [name for name, found in rows.items() if not found]
        if empty:
            raise InputError(f"task {self.form.name}: no rows in {' and '.join(empty)}.")
        return {name: self.examples_of(found, prefix=prefix) for name, found in rows.items()}

    def examples_of(self, rows: Sequence[Record], *, prefix: bool) -> list[Example]:
        """Rows in text-to-text form.

        Raises:
            InputError: answers that are none; the first ten, with file and line.
        """
        target, answers = self.form.target, [row.values[self.answer] for row in rows]
        targets = [target.encode(answer) for answer in answers]
        bad = [f"{r.place}: label {a!r}" for r, a, t in zip(rows, answers, targets, strict=True) if t is None]
        if bad:
            raise InputError(
                f"task {self.form.name}: {len(bad)} label(s) are not {target.expected()}:\n  {listed(bad)}"
            )
        return [
            self.form.example(row.values, text or "", self.reference(target.decode(text or ""), row), prefix=prefix)
            for row, text in zip(rows, targets, strict=True)
        ]


def permutation(rows: int, seed: int = 42) -> list[int]:
    """The papers' permutation (Compacter and HyperFormer, published code)."""
    order: list[int] = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def halve_validation(splits: Splits) -> Splits:
    """Small sets: half of the official validation set is the test set (Compacter, §4.1)."""
    rows = splits["validation"]
    order = permutation(len(rows))
    half = len(rows) // 2
    return {
        "train": splits["train"],
        "validation": [rows[i] for i in order[:half]],
        "test": [rows[i] for i in order[half:]],
    }


def hold_out_thousand(splits: Splits) -> Splits:
    """Large sets: 1,000 training rows validate; the official validation set, or the test set, tests."""
    rows = splits["train"]
    order = permutation(len(rows))
    return {
        "train": [rows[i] for i in order[1000:]],
        "validation": [rows[i] for i in order[:1000]],
        "test": splits["validation"] if "validation" in splits else splits["test"],
    }


def parts_of(split: str, validation: int, test: int) -> Split:
    """Where one official split alone is at hand: its permuted rows as validation, test and, the rest, training."""

    def cut(splits: Splits) -> Splits:
        rows = splits[split]
        order = [rows[i] for i in permutation(len(rows))]
        held = validation + test
        return {"train": order[held:], "validation": order[:validation], "test": order[validation:held]}

    return cut


def as_given(splits: Splits) -> Splits:
    """Splits that already are train, validation and perhaps test."""
    return splits


def metrics_named(names: Sequence[str]) -> tuple[Metric, ...]:
    """Metrics by name.

    Raises:
        InputError: there is no such metric.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise InputError(f"there is no metric {unknown[0]!r}. {neighbours(unknown[0], METRICS)}")
    return tuple(METRICS[name] for name in names)
