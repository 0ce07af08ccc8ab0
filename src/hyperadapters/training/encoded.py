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


class _Cut(NamedTuple):
    """How many rows were longer than their limits, and lost their end (of a conversation, its beginning)."""

    sources: int
    targets: int = 0


def _count_longer(rows: Sequence[Sequence[int]], limit: int) -> int:
    """Return how many rows have more than `limit` tokens."""
    return sum(len(tokens) > limit for tokens in rows)


def _truncate(tokens: list[int], limit: int, end: int) -> list[int]:
    """Return at most the first `limit` tokens; where some are lost, the last one kept is `end`, the end of sequence."""
    return tokens if len(tokens) <= limit else [*tokens[: limit - 1], end]
