"""A text in pieces, while its tokens are generated."""

import json
from collections.abc import Sequence
from typing import Any

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""How a tokenizer writes a character of which tokens are missing."""


def _as_text(value: Any) -> str:
    """Return an answer as text: a text as it is, a number or a list as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut_at(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the first of some texts."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


class _TextStream:
    """Gives out a text that grows, without taking anything back.

    Held back are white space at the end, which the whole answer is stripped of, characters that are not finished, and
    what may be the beginning of a text before which the answer ends.

    Args:
        stops: these texts.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops, self._given = stops, ""

    def add(self, text: str) -> str:
        """Return what of the text so far was not given out yet, and stays."""
        sure = _cut_at(text, self._stops)
        if sure == text:  # what is at its end may begin a stop
            held = max((_overlap(text, stop) for stop in self._stops), default=0)
            sure = text[: len(text) - held]
        sure = sure.strip().rstrip(_UNFINISHED).rstrip()
        return self._give(sure) if sure.startswith(self._given) else ""

    def rest(self, text: str) -> str:
        """Return what of the whole text was not given out yet."""
        return self._give(text)

    def _give(self, text: str) -> str:
        piece = text[len(self._given) :]
        self._given += piece
        return piece


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of a text begin another."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
