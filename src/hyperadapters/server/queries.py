"""What an engine is asked, what it answers, and how much it takes at a time: plain data, fit to travel."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

from hyperadapters.serving import ServedTask

Want = Literal["answers", "probabilities", "embeddings"]


@dataclass(frozen=True)
class _GenerationSettings:
    """How an answer is generated, where that is not as the adapter was evaluated."""

    most_tokens: int | None = None
    """None: as in training."""
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    """Texts before which an answer ends."""
    seed: int | None = None

    def numbered(self, number: int) -> "_GenerationSettings":
        """Return the settings of the so manieth answer to a row, from 0."""
        return self if self.seed is None else replace(self, seed=self.seed + number)

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn."""
        return self.temperature > 0


@dataclass(frozen=True)
class Query:
    """Rows of one task, and what is asked of them."""

    task: ServedTask
    rows: tuple[Mapping[str, Any], ...]
    want: Want = "answers"
    top: int | None = None
    """How many labels of each row to give, where probabilities are wanted; None: all."""
    generation: _GenerationSettings = _GenerationSettings()
    number: int = 1
    """Answers to each row, whose seeds count up."""


@dataclass(frozen=True)
class _FanQuery:
    """Rows that several tasks answer, each task its own columns of them."""

    rows: Mapping[str, tuple[Mapping[str, Any], ...]]
    """By the task's name."""
    tasks: tuple[ServedTask, ...]


@dataclass
class Answer:
    """The answer to a row."""

    value: Any
    """A text, a number, a list; `Scored`, where probabilities are wanted; or a vector."""
    source_tokens: int
    answer_tokens: int = 0
    finished: str = "stop"
    """"stop", or "length" where it was cut."""


@dataclass
class Reply:
    """The answers to the rows of a query, in order; where several are wanted of each, they stand together."""

    answers: list[Answer]
    truncated: int = 0
    """Rows that were longer than in training, and cut."""
    queued: float = 0.0
    """Seconds that the first row waited."""
    batch: float = 0.0
    """Rows of a batch, on the average."""
    replica: str = ""
    """What the cluster calls the process that answered; empty: there is no cluster."""

    @property
    def source_tokens(self) -> int:
        """Of all rows."""
        return sum(answer.source_tokens for answer in self.answers)

    @property
    def answer_tokens(self) -> int:
        """Of all rows."""
        return sum(answer.answer_tokens for answer in self.answers)


class Gauges(NamedTuple):
    """The state of an engine."""

    waiting: int
    """Rows in the queue."""
    held: int
    """Adapters in memory."""
    loads: int
    """Adapters read so far."""
    evictions: int
    """Adapters that made room so far."""


class _Engine(Protocol):
    """What answers queries."""

    async def run(self, query: Query) -> Reply:
        """Return the answers to a query."""

    def stream(self, query: Query) -> AsyncIterator[str | Reply]:
        """Yield the answer to a query of one row in pieces, and at last the reply."""

    async def fan(self, query: _FanQuery) -> dict[str, Reply]:
        """Return the answers of several tasks to the same rows, by the task's name."""

    async def prepare(self, tasks: Sequence[ServedTask]) -> None:
        """Check that adapters can answer, before they are listed."""

    async def forget(self, names: Sequence[str]) -> None:
        """Give up what is in memory of tasks, by their names."""

    def gauges(self) -> Gauges | None:
        """Return the state; None: it is another process's."""

    def close(self) -> None:
        """Answer what waits, and stop."""


@dataclass(frozen=True)
class Limits:
    """How much an engine takes at a time."""

    rows: int = 64
    """Of a batch."""
    wait: float = 0.005
    """Seconds that a row waits for others."""
    waiting: int = 1024
    """Rows in the queue."""
    tokens: int = 1024
    """Of an answer, where a query asks for more than in training."""
    resident: int = 256
    """Adapters of a pool in memory."""
    alone: int = 8
    """Adapters in memory that cannot share a batch."""
