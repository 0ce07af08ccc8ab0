"""Errors of users: one class for all, and the help that its messages give."""

from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


class InputError(ValueError):
    """Something that the user gave is wrong; the message says what was given, what is wrong and what to do.

    All problems of one input stand in one error. The command line prints it without a traceback and exits with 2.
    """


class UnavailableError(InputError):
    """A backbone or data cannot be read now: a folder is not there, or the Hub does not answer. A later try may do."""


class CannotWriteError(InputError):
    """A file cannot be written: the disk is full or there is no permission. What was there before still is."""


class NonFiniteLossError(InputError):
    """The loss or a trained tensor is not finite: training has stopped, the best weights so far are kept."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training: a checkpoint was written at the step that was under way."""


def listed(problems: list[str], most: int = 10) -> str:
    """Return the first `most` problems, one a line, and how many more there are."""
    more = [f"… and {len(problems) - most} more"] if len(problems) > most else []
    return "\n  ".join(problems[:most] + more)


def collect_errors(action: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """Return what an action makes of each item.

    Raises:
        InputError: what it raised for some of them, each message once, in one error.
    """
    found, problems = list[_R](), list[str]()
    for item in items:
        try:
            found.append(action(item))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n  ".join(dict.fromkeys(problems)))
    return found
