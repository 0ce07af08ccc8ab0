"""Errors of users: one class for all, and the help that its messages give."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something that the user gave is wrong; the message says what was given, what is wrong and what to do.

    All problems of one input stand in one error. The command line prints it without a traceback and exits with 2.
    """


class CannotWriteError(InputError):
    """A file cannot be written: the disk is full or there is no permission. What was there before still is."""


class NonFiniteLossError(InputError):
    """The loss or a trained tensor is not finite: training has stopped, the best weights so far are kept."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training: a checkpoint was written at the step that was under way."""


def neighbours(word: str, known: Iterable[str]) -> str:
    """Return a hint for a word that is not known: "Did you mean …?" with the nearest ones, else the list of all."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known) or 'none'}."


def listed(problems: list[str], most: int = 10) -> str:
    """Return the first `most` problems, one a line, and how many more there are."""
    more = [f"… and {len(problems) - most} more"] if len(problems) > most else []
    return "\n  ".join(problems[:most] + more)
