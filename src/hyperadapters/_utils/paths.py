"""Paths as a user gives them: with `~` for the home folder, through links, and files found below a folder."""

import os
from pathlib import Path

from hyperadapters._utils.errors import InputError


def expand_path(path: str | Path) -> Path:
    """Return a path with `~` or `~name` at its beginning replaced by that user's home folder.

    Args:
        path: as the user gives it.

    Raises:
        InputError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: there is no such user, so no home folder. Write the folder in full.") from error


def absolute_path(path: str | Path) -> Path:
    """Return a path from the root, with `~` expanded; links are kept as they are."""
    return Path(os.path.abspath(expand_path(path)))


def follow_links(path: Path) -> Path:
    """Return the file that a link leads to, there or not, or the path itself where it is no link.

    A file is written beside its old self and put in its place; this way a link stays a link.

    Raises:
        InputError: links lead in a circle.
    """
    if not path.is_symlink():
        return path
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} is a link that leads back to itself: name another file.") from error
    if target.is_symlink():  # newer Pythons end a circle without an error
        raise InputError(f"{path} is a link that leads back to itself: name another file.")
    return target


def find_files(folder: Path, name: str) -> list[Path]:
    """Return every file of a name at any depth below a folder, sorted; folders that are links are looked into too.

    Args:
        folder: where to look; a folder that links make appear several times below itself is looked into once.
        name: of the files.
    """
    found: list[Path] = []
    above: dict[str, frozenset[Path]] = {}
    for place, inner, names in os.walk(folder, followlinks=True):
        parents = above.pop(place, frozenset()) | {Path(place).resolve()}
        inner[:] = [other for other in inner if Path(place, other).resolve() not in parents]
        above |= {os.path.join(place, other): parents for other in inner}
        found += [Path(place, name)] if name in names else []
    return sorted(found)
