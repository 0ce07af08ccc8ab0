"""Names in errors: the nearest of those known, a few of many. Names of tasks by their last part; names for files."""

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from hyperadapters._utils.errors import InputError

_LISTED = 10
"""The most names that an error lists."""

_SHOWN = 60
"""The most characters of a name that an error shows."""

_LONGEST = 200
"""The most bytes of a file's name before its endings; file systems allow 255 in all."""


def few_names(names: Iterable[str], near: str = "", none: str = "none") -> str:
    """Return names between commas, as an error lists them: all where they are few, else some and how many more.

    Args:
        names: in their order.
        near: what the user gave in place of one of them; where the names are many, those that resemble it come first.
        none: what to return where there is no name.
    """
    names = [*names]
    if len(names) > _LISTED:
        names = [*dict.fromkeys([*_nearest(near, names, _LISTED), *names])]
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return (", ".join(shortened(name) for name in names[:_LISTED]) or none) + more


def neighbours(word: str, known: Iterable[str]) -> str:
    """Return a hint for a word that is not known: "Did you mean …?" with the nearest ones, else a list of those known.

    Args:
        word: what the user gave; of `?` all that are known are listed.
        known: what could have been given.
    """
    known = [*known]
    if word == "?":
        return f"Known: {', '.join(known)}."
    close = _nearest(word, known, 3)
    return f"Did you mean {' or '.join(map(shortened, close))}?" if close else f"Known: {few_names(known)}."


def _nearest(word: str, known: Sequence[str], most: int) -> list[str]:
    """Return the known names that resemble a word, whatever their case, the most alike first."""
    by_case: dict[str, list[str]] = {}
    for name in known:
        by_case.setdefault(name.lower(), []).append(name)
    close = difflib.get_close_matches(word.lower(), by_case, n=most, cutoff=0.5) if word else []
    return [name for lower in close for name in by_case[lower]][:most]


def shortened(name: str, most: int = _SHOWN) -> str:
    """Return a name as an error or a figure shows it: its beginning where it has more characters than `most`."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return each task's name -> its last part, or the full name where several share it (glue/rte, superglue/rte)."""
    ends = [name.split("/")[-1] for name in names]
    return {name: end if ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)}


def resolve_task(name: str, known: Collection[str], where: str) -> str:
    """Return the full name of a task that is given by its full name or, where that is unique, by its last part.

    Args:
        name: as the user gives it.
        known: full names.
        where: what knows them, for errors, such as "the adapter at out/mix".

    Raises:
        InputError: no task or several have this name; the known ones are listed.
    """
    found = [name] if name in known else [other for other in known if other.split("/")[-1] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"task {name!r} may be {few_names(found)}: write the full name.")
    why = f"{where} knows no task {shortened(name)!r}" if name else f"{where} was given a row without a task"
    raise InputError(f"{why}. It knows {few_names(known, name, none='none by name')}.")


def truncate_filename(name: str) -> str:
    """Return a name for a file: the name itself, or its beginning where it is too long."""
    return name if len(name.encode()) <= _LONGEST else name.encode()[:80].decode(errors="ignore")


def occurrences(names: Iterable[str]) -> list[int]:
    """Return for each name how often it has occurred up to its place."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(seen[name])
    return found


def numbered(name: str, number: int) -> str:
    """Return a name with its number from the second occurrence on, in a form that `slug` never gives."""
    return name if number == 1 else f"{name}--{number}"


def slug(text: str) -> str:
    """Return a text as lower-case letters, digits and single hyphens, short enough for a file's name."""
    return truncate_filename(re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"))
