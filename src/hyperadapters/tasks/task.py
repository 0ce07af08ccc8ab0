"""What a task is, as data: where its rows come from, their form, metrics and split."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hyperadapters._utils import InputError, listed, shortened
from hyperadapters.tasks.metrics import Metric
from hyperadapters.tasks.readers import _Record
from hyperadapters.tasks.span_rows import _PLACE
from hyperadapters.tasks.splits import _Split, _Splits
from hyperadapters.tasks.targets import Numeric
from hyperadapters.tasks.task_format import Example, TaskFormat


class _Source(ABC):
    """Where rows come from."""

    has_files: ClassVar[bool] = True
    """Whether the rows may be in files of a folder that is given."""

    @abstractmethod
    def read(self, data: Path | None) -> _Splits:
        """Read all rows, by the official name of their split; columns are named as the task's fields and its answer.

        Args:
            data: folder of the official files; None: the Hugging Face Hub, or what needs no files.
        """

    def left_out(self) -> dict[str, int]:
        """Return how many bad rows of each split the last `read` left out."""
        return {}

    def dataset(self) -> dict[str, str]:
        """Return the data set of the Hub with these rows: its name as `type`, perhaps its `config`; empty: none."""
        return {}

    def check(self, data: Path | None) -> None:
        """Raise InputError unless the rows are there to be read, as far as seconds tell; nothing is read.

        Args:
            data: as for `read`.
        """
        self.paths(data)

    def paths(self, data: Path | None) -> dict[str, list[Path]]:
        """Return the official files in a folder, by the official name of their split; none where there are none.

        Args:
            data: as for `read`.
        """
        return {}


_Reference = Callable[[Any, _Record], Any]
"""(value of a row's target: a class, a number or a text; the row) -> what metrics compare the answer with."""


def _target_value(value: Any, row: _Record) -> Any:
    """Return the value of the target, whatever the row."""
    return value


def _in_words(answer: str | Sequence[str]) -> str:
    """Return a raw answer as one text."""
    return answer if isinstance(answer, str) else "; ".join(answer)


@dataclass(frozen=True)
class Task:
    """A task as data: where its rows come from, their text, their answers, metrics and split."""

    form: TaskFormat
    metrics: tuple[Metric, ...]
    source: _Source
    split: _Split
    epochs: int = 3
    """Epochs that the papers train it for (Compacter, arXiv:2106.04647v2, appendix A)."""
    reference: _Reference = _target_value
    """What metrics compare an answer with, where that is not the target's value."""
    description: str = ""
    """What to know before comparing a score with another's: where rows or text are not the benchmark's own."""
    answer: str = "label"
    """The column that holds the answer."""
    chosen_by: tuple[Metric, ...] = ()
    """Those of the metrics by whose mean the best weights are chosen, where not by the mean of all (Compacter, §4.1);
    the others decide between weights that are equal in these."""
    wordings: tuple[str, ...] = ()
    """Descriptions of what is asked, each complete, for methods that write adapters from them."""
    remedy: str = ""
    """What to do about answers that are not valid, for errors."""

    def paths(self, data: Path | None) -> dict[str, list[Path]]:
        """Return the official files that the rows are read from, by the official name of their split.

        Args:
            data: folder of the official files; None: the rows come from the Hugging Face Hub, and there are none.

        Raises:
            InputError: files are missing.
        """
        return self.source.paths(data)

    @property
    def has_files(self) -> bool:
        """Whether a folder of files can be given for the rows, rather than the package making them."""
        return self.source.has_files

    @property
    def dataset(self) -> dict[str, str]:
        """The data set of the Hub that has these rows: its name as `type`, perhaps its `config`; empty: none has."""
        return self.source.dataset()

    def left_out(self) -> dict[str, int]:
        """Return how many bad rows of each split the last `examples` left out (`Reading.skip_bad_rows`)."""
        return self.source.left_out()

    def check_source(self, data: Path | None) -> None:
        """Raise UnavailableError unless the rows are there to be read, as far as seconds tell; nothing is read.

        Args:
            data: folder of the official files; None: the Hugging Face Hub, which is asked for the data set.

        Raises:
            UnavailableError: files are missing, or the Hub does not answer and the data set is in no cache.
            InputError: the rows are in no data set of the Hub, and there is no folder.
        """
        self.source.check(data)

    def examples(self, data: Path | None, *, prefix: bool = False) -> dict[str, list[Example]]:
        """Read the task's rows, by split: train, validation and perhaps test.

        Args:
            data: folder of the official files; None: the Hugging Face Hub.
            prefix: write the task's name before every source.

        Raises:
            InputError: files are missing or damaged, a split is empty, or answers are invalid (the first ten, with file
                and line).
        """
        rows = self.split(self.source.read(data))
        empty = [name for name, found in rows.items() if not found]
        if empty:
            raise InputError(f"task {self.form.name}: no rows in {' and '.join(empty)}.")
        return {name: self._in_form(found, prefix=prefix) for name, found in rows.items()}

    def _in_form(self, rows: Sequence[_Record], *, prefix: bool) -> list[Example]:
        """Return rows in text-to-text form.

        Raises:
            InputError: answers are invalid; names the first ten, with file and line.
        """
        target, answers = self.form.target, [row.values[self.answer] for row in rows]
        self._check_matching(rows)
        targets = [target.encode(answer) for answer in answers]
        bad = [
            f"{r.place}: label {shortened(_in_words(a))!r}{target.hint(a)}"
            for r, a, t in zip(rows, answers, targets, strict=True)
            if t is None
        ]
        if bad:
            raise InputError(
                f"task {self.form.name}: {len(bad)} label(s) are not {target.expected()}:\n  {listed(bad)}"
                + (f"\n  {self.remedy}" if self.remedy else "")
            )
        numbers = [target.decode(answer) if isinstance(target, Numeric) else None for answer in answers]
        found = []
        for row, text, number in zip(rows, targets, numbers, strict=True):
            reference = self.reference(target.decode(text or ""), row)
            example = self.form.example(row.values, text or "", reference, prefix=prefix)
            found.append(example._replace(number=number, span=self._span_of(row, example)))
        return found

    def _span_of(self, row: _Record, example: Example) -> tuple[int, int] | None:
        """Return where a row's answer stands in the last text of its form, which may begin with the task's name."""
        span: tuple[int, int] | None = row.values.get(_PLACE, (0, 0))
        if span is None or _PLACE not in row.values:
            return span
        before = len(example.texts[-1]) - len(row.values[self.form.fields[-1]].strip())
        return (span[0] + before, span[1] + before)

    def _check_matching(self, rows: Sequence[_Record]) -> None:
        """Raise InputError if the answers of rows do not go with their sources; names the first ten."""
        found = [(row.place, self.form.mismatch(row.values, row.values[self.answer])) for row in rows]
        bad = [f"{place}: {what}" for place, what in found if what]
        if bad:
            raise InputError(f"task {self.form.name}: {len(bad):,} row(s) do not fit:\n  {listed(bad)}")
