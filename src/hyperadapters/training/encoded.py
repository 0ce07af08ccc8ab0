"""Rows in tokens."""

from collections.abc import Sequence
from typing import NamedTuple


class Encoded(NamedTuple):
    """One example in tokens; for an encoder the target is the number of the class, or the score."""

    source: list[int]
    target: list[int] | list[float]
    task: str = ""
    """Its task's name, where several are trained together."""
    segments: Sequence[int] = ()
    """For an encoder that tells the texts of a pair apart by them: each source token's segment (`token_type_ids`)."""


class Cut(NamedTuple):
    """How many rows were longer than their limits, and lost their end; of a conversation, its beginning."""

    sources: int
    targets: int = 0
