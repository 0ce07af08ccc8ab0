"""The answers of a task: classes, numbers or any text."""

import math
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from hyperadapters._utils import few_names, neighbours

_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
"""Characters that no one sees: soft hyphen, spaces of no width, byte order mark."""


def _plain_form(text: str) -> str:
    """Return a text in Unicode's composed form (NFC), with single spaces and without characters that no one sees."""
    return " ".join(unicodedata.normalize("NFC", text).translate(_INVISIBLE).split())


class _Target(ABC):
    """The answers of a task: how they are written and read back. Concrete targets are frozen dataclasses."""

    @abstractmethod
    def encode(self, raw: Any) -> str | None:
        """Return the target text of a raw answer, or None if it is not a valid one.

        A raw answer is a text; of tasks whose answers are lists, a tuple of texts.
        """

    @abstractmethod
    def decode(self, text: str) -> Any:
        """Return the value that metrics compare, from the text of an answer."""

    @abstractmethod
    def expected(self) -> str:
        """Return, in words, what a valid raw answer is."""

    def hint(self, raw: Any) -> str:
        """Return, in words, which valid answer an invalid one resembles; empty where there is nothing to say."""
        return ""

    def present(self, text: str) -> Any:
        """Return the text of an answer as a value of JSON, as users get it."""
        return text

    def as_given(self, value: Any) -> Any:
        """Return a value that metrics compare as users get answers; None for an invalid one."""
        return value


@dataclass(frozen=True)
class Labels(_Target):
    """A class out of a closed set; metrics see its number, or -1 for an invalid answer."""

    texts: tuple[str, ...]
    """The target text of each class."""
    names: tuple[str, ...] = ()
    """What raw data may call each class, besides its text."""

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
        return f"one of {few_names(self._known())}"

    def hint(self, raw: str) -> str:
        alike = [known for known in self._known() if _plain_form(known) == _plain_form(raw)]
        if alike:
            return f" (the class {alike[0]!a} differs in white space or Unicode form alone)"
        return f" ({neighbours(raw, self._known())})" if few_names(self._known()) != ", ".join(self._known()) else ""

    def as_given(self, value: int) -> str | None:
        return self.texts[value] if value >= 0 else None

    def _known(self) -> tuple[str, ...]:
        return (*self.names, *self.texts)


@dataclass(frozen=True)
class LabelSet(_Target):
    """Any number of labels out of a closed set, or none; metrics see their numbers, and -1 for an invalid one.

    As text they are sorted and joined.
    """

    SEPARATOR: ClassVar[str] = "; "
    """Stands between the labels of a row."""

    texts: tuple[str, ...]
    """The text of each label."""

    def encode(self, raw: Sequence[str]) -> str | None:
        return None if self._unknown(raw) else self.joined(raw)

    def joined(self, labels: Iterable[str]) -> str:
        """Return the text of an answer with these labels."""
        return self.SEPARATOR.join(sorted({*labels}))

    def decode(self, text: str) -> tuple[int, ...]:
        numbers = {label: number for number, label in enumerate(self.texts)}
        return tuple(sorted({numbers.get(part, -1) for part in self._parts(text)}))

    def expected(self) -> str:
        return f"lists of {few_names(self.texts)}"

    def hint(self, raw: Sequence[str]) -> str:
        unknown = self._unknown(raw)
        return f" (no label: {few_names(map(repr, unknown))}; {neighbours(unknown[0], self.texts)})"

    def present(self, text: str) -> list[str]:
        return self._parts(text)

    def as_given(self, value: Sequence[int]) -> list[str | None]:
        return [self.texts[number] if number >= 0 else None for number in value]

    def _parts(self, text: str) -> list[str]:
        mark = self.SEPARATOR.strip()
        return [part.strip() for part in text.split(mark) if part.strip()]

    def _unknown(self, raw: Sequence[str]) -> list[str]:
        return [label for label in dict.fromkeys(raw) if label not in self.texts]


@dataclass(frozen=True)
class TagSequence(_Target):
    """A tag for each word of the source, out of a closed set; metrics see the tags."""

    texts: tuple[str, ...]
    """The tags; none holds white space."""

    @property
    def outside(self) -> str:
        """The tag of a word of which nothing is known: O, or the first where there is no O."""
        return "O" if "O" in self.texts else self.texts[0]

    def encode(self, raw: Sequence[str]) -> str | None:
        return " ".join(raw) if {*raw} <= {*self.texts} else None

    def decode(self, text: str) -> tuple[str, ...]:
        return tuple(text.split())

    def expected(self) -> str:
        return f"a tag for each word, of {few_names(self.texts)}"

    def hint(self, raw: Sequence[str]) -> str:
        unknown = [tag for tag in dict.fromkeys(raw) if tag not in self.texts]
        return f" (no tag: {few_names(map(repr, unknown))})"

    def present(self, text: str) -> list[str]:
        return text.split()

    def as_given(self, value: Sequence[str]) -> list[str]:
        return [*value]


@dataclass(frozen=True)
class AnswerSpan(_Target):
    """A part of the last text of the source (SQuAD, arXiv:1606.05250); metrics see the text, or all right ones."""

    empty: bool = False
    """Whether some texts have no answer (SQuAD 2.0, arXiv:1806.03822), whose answer is the empty text."""

    def encode(self, raw: Sequence[str]) -> str | None:
        return raw[0] if raw else "" if self.empty else None

    def decode(self, text: str) -> str:
        return text.strip()

    def expected(self) -> str:
        return "parts of the text" + (", or nothing" if self.empty else "")

    def hint(self, raw: Sequence[str]) -> str:
        return " (no answer, which no training row has)"

    def as_given(self, value: str | Sequence[str]) -> str:
        return value if isinstance(value, str) else next(iter(value), "")


class Numeric(_Target):
    """Numbers, which encoders learn by regression; metrics see the number, or None for an invalid answer."""

    @abstractmethod
    def to_output(self, value: float) -> float:
        """Return the output that a regression head learns for a number."""

    def present(self, text: str) -> Any:
        value = self.decode(text)
        return text if value is None else value

    @abstractmethod
    def from_output(self, output: float) -> str:
        """Return the answer of a regression head with this output."""


@dataclass(frozen=True)
class _Score(Numeric):
    """A number from `low` to `high`, rounded to a step and written as text, as T5 does for STS-B (arXiv:1910.10683).

    Metrics see the number, or None for an invalid answer.
    """

    low: float
    high: float
    step: float

    def encode(self, raw: str) -> str | None:
        try:
            value = float(raw)
        except ValueError:
            return None
        steps = 1 / self.step  # T5's round(5·x)/5: 1.5 steps of 0.2 are 2, but 0.3 / 0.2 is less than 1.5
        return f"{round(value * steps) / steps:.1f}" if self.low <= value <= self.high else None

    def decode(self, text: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            return None
        return value if self.low <= value <= self.high else None

    def expected(self) -> str:
        return f"a number from {self.low} to {self.high}"

    def to_output(self, value: float) -> float:
        return value

    def from_output(self, output: float) -> str:
        return f"{min(max(output, self.low), self.high):.6g}"


@dataclass(frozen=True)
class _Number(Numeric):
    """Any number. Encoders learn it standardised; as text it is rounded to a step, as T5 does with STS-B.

    Answers have no limits: a new row's number may lie outside those of the training rows.
    """

    mean: float
    """Of the training rows."""
    deviation: float
    """The standard deviation of the training rows; more than 0."""
    step: float
    """1, 2 or 5 times a power of ten."""

    def __post_init__(self) -> None:
        """Raise ValueError unless deviation and step are finite and more than 0."""
        if not (math.isfinite(self.mean) and 0 < self.deviation < math.inf and 0 < self.step < math.inf):
            raise ValueError(f"mean {self.mean}, deviation {self.deviation}, step {self.step}")

    @staticmethod
    def of(values: Sequence[float]) -> "_Number":
        """Return the form of numbers like these.

        The step is a seventh of the standard deviation at most, as STS-B's 0.2 is; that of whole numbers is 1 at least.

        Args:
            values: of the training rows, two different ones at least.
        """
        deviation = float(np.std(values))
        exponent, part = divmod(math.log10(deviation / 7), 1)
        digit = max(digit for digit in (1, 2, 5) if math.log10(digit) <= part)
        step = float(f"{digit}e{exponent:.0f}")
        whole = all(value.is_integer() for value in values)
        return _Number(float(np.mean(values)), deviation, max(step, 1.0) if whole else step)

    def encode(self, raw: str) -> str | None:
        value = self.decode(raw)
        if value is None:
            return None
        rounded = round(Fraction(value) / Fraction(str(self.step))) * Fraction(str(self.step))
        return f"{float(rounded):.{max(0, -math.floor(math.log10(self.step)))}f}"

    def decode(self, text: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            return None
        python_alone = "_" in text or not text.isascii()  # 1_000, and digits of other scripts
        return None if python_alone or not math.isfinite(value) else value

    def expected(self) -> str:
        return "a number"

    def to_output(self, value: float) -> float:
        return (value - self.mean) / self.deviation

    def from_output(self, output: float) -> str:
        places = 5 - math.floor(math.log10(self.deviation))
        return f"{round(self.mean + output * self.deviation, places) + 0.0:.15g}"


@dataclass(frozen=True)
class FreeText(_Target):
    """Any text; metrics compare strings."""

    def encode(self, raw: str) -> str | None:
        return raw.strip() or None

    def decode(self, text: str) -> str:
        return text.strip()

    def expected(self) -> str:
        return "a text"


_TARGETS: dict[str, type[_Target]] = {
    "labels": Labels,
    "label_set": LabelSet,
    "tags": TagSequence,
    "span": AnswerSpan,
    "score": _Score,
    "number": _Number,
    "text": FreeText,
}
"""By the type that stands in an adapter's file."""
