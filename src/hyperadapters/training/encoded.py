"""Rows as tokens."""

from collections.abc import Sequence
from typing import NamedTuple


class Encoded(NamedTuple):
    """One row in tokens."""

    source: list[int]
    target: list[int] | list[float]
    """The answer's tokens; for an encoder the number of the class, or the score."""
    task: str = ""
    """Its task's name, where several are trained together."""
    segments: Sequence[int] = ()
    """For an encoder that tells the texts of a pair apart by them: each source token's segment (`token_type_ids`)."""
    places: Sequence[int] = ()
    """Where each word has an answer: the place of its first token; -1 of a word without one."""
    context: str = ""
    """The text that the answer is a part of."""
    offsets: Sequence[tuple[int, int]] = ()
    """Where each token stands in that text: first character and the one after the last; (0, 0) of other tokens."""
    windows: Sequence["Encoded"] = ()
    """The other windows of that text, where it is longer than one."""
    weight: float = 1.0
    """By which its loss is multiplied (`Training.class_weights`)."""


class _Cut(NamedTuple):
    """How many rows were longer than their limits, and lost their end (of a conversation, its beginning)."""

    sources: int
    targets: int = 0


def _count_longer(rows: Sequence[Sequence[int]], limit: int) -> int:
    """Return how many rows have more than `limit` tokens."""
    return sum(len(tokens) > limit for tokens in rows)


def _truncate(tokens: list[int], limit: int, ending: Sequence[int]) -> list[int]:
    """Return at most the first `limit` tokens; where some are lost, the last ones kept are `ending`."""
    return tokens if len(tokens) <= limit else [*tokens[: limit - len(ending)], *ending]


def _truncate_start(tokens: list[int], limit: int, beginning: Sequence[int]) -> list[int]:
    """Return at most the last `limit` tokens; where some are lost, the first ones kept are `beginning`."""
    return tokens if len(tokens) <= limit else [*beginning, *tokens[len(tokens) - limit + len(beginning) :]]
