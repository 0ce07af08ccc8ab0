"""Names of tasks, in full and by their last part, and names for files."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from hyperadapters._utils.errors import InputError

_LISTED = 20
"""The most names that an error lists."""

_LONGEST = 200
"""The most bytes of a file's name before its endings; file systems allow 255 in all."""


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
        raise InputError(f"task {name!r} may be {' or '.join(found)}: write the full name.")
    more = f" and {len(known) - _LISTED:,} more" if len(known) > _LISTED else ""
    why = f"{where} knows no task {name!r}" if name else f"{where} was given a row without a task"
    raise InputError(f"{why}. It knows {', '.join([*known][:_LISTED]) or 'none by name'}{more}.")


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
