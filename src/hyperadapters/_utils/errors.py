"""Wrong inputs: one class of error, and the help that its messages give."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something given by the user is wrong. The message says what was given, what is wrong and what to do.

    The command line prints it without a traceback and exits with 2.
    """


class NonFiniteLossError(InputError):
    """The loss is not a finite number; training stopped and the last good state was kept."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training: a checkpoint was written at the step that was under way."""


def neighbours(word: str, known: Iterable[str]) -> str:
    """ "Did you mean …?" if something close is known, else the list of all that is."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known) or 'none'}."


def listed(problems: list[str], most: int = 10) -> str:
    """The first problems, one a line, and how many more there are."""
    more = [f"… and {len(problems) - most} more"] if len(problems) > most else []
    return "\n  ".join(problems[:most] + more)
