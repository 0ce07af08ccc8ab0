"""Names of tasks: whole, and by their last part; and names that files can have."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from hyperadapters._utils.errors import InputError

LISTED = 20
"""Names that an error lists."""

LONGEST = 200
"""Bytes of a file's name without what follows it: file systems take 255."""


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Each task's name -> its last part, or all of it where several end alike, as glue/rte and superglue/rte."""
    ends = [name.split("/")[-1] for name in names]
    return {name: end if ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)}


def resolve_task(name: str, known: Collection[str], where: str) -> str:
    """The whole name of one of the tasks that are known; the last part of it will do where it is unique.

    Args:
        name: as a user gives it.
        known: whole names.
        where: what knows them, in words.

    Raises:
        InputError: none is called so, or several; names those there are.
    """
    found = [name] if name in known else [other for other in known if other.split("/")[-1] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"task {name!r} may be {' or '.join(found)}: write the whole name.")
    more = f" and {len(known) - LISTED:,} more" if len(known) > LISTED else ""
    why = f"{where} knows no task {name!r}" if name else f"{where} was given a row without a task"
    raise InputError(f"{why}. It knows {', '.join([*known][:LISTED]) or 'none by name'}{more}.")


def truncate_filename(name: str) -> str:
    """A name for a file: itself, or its beginning where it is too long for one."""
    return name if len(name.encode()) <= LONGEST else name.encode()[:80].decode(errors="ignore")


def occurrences(names: Iterable[str]) -> list[int]:
    """For each name, how many of it there are up to there."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(seen[name])
    return found


def numbered(name: str, number: int) -> str:
    """A name that comes several times, numbered from the second on as no name from `slug` is."""
    return name if number == 1 else f"{name}--{number}"


def slug(text: str) -> str:
    """A text in small letters, digits and single hyphens, short enough for a file's name."""
    return truncate_filename(re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"))
