"""Where a user's own rows are: files, patterns of files, a data set of the Hub, or a share of the training rows."""

import glob
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hyperadapters._utils import InputError, absolute_path, expand_path

_HUB = "hf://"

_SHARE = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*%")


def is_on_hub(place: str | Path) -> bool:
    """Return whether a place is a data set of the Hugging Face Hub: hf://owner/name, /config and :split after it."""
    return str(place).startswith(_HUB)


def share_of(place: str | Path) -> float | None:
    """Return the share of the training rows that 10% in the place of a file means: 0.1; None: it is no share.

    Raises:
        InputError: it is not more than 0 and less than 100 %.
    """
    found = _SHARE.fullmatch(str(place).strip())
    if not found:
        return None
    percent = float(found[1])
    if not 0 < percent < 100:
        raise InputError(f"validation {place}: a share of the training rows is more than 0% and less than 100%: 10%.")
    return percent / 100


def parts_of(place: str | Path) -> list[str]:
    """Return the files and patterns that a place joins by commas; none of the Hub's and of a share."""
    text = str(place)
    if is_on_hub(text) or _SHARE.fullmatch(text.strip()):
        return []
    if "," not in text or expand_path(text).exists():
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()]


def files_at(place: str | Path) -> list[Path]:
    """Return the files of a place, those of a pattern in the order of their names.

    Args:
        place: a file, a pattern such as `data/part-*.jsonl` (`**` for folders at any depth), or several of both with
            commas between.

    Raises:
        InputError: a file is not there, a pattern matches none, or a file stands there twice.
    """
    check_places([place])
    return [path for part in parts_of(place) for path in _matches(part)]


def check_places(places: Iterable[str | Path]) -> None:
    """Raise InputError, naming them all, unless there are files at every place; empty places name none.

    Args:
        places: as for `files_at`; those of the Hub are not looked for.
    """
    problems, absent = [], list[str]()
    for place in filter(str, places):
        share_of(place)
        parts = parts_of(place)
        absent += [part for part in parts if not _matches(part) and not _is_pattern(part) and not Path(part).is_dir()]
        problems += [_why_none(part) for part in parts if not _matches(part) and part not in absent]
        files = [path for part in parts for path in _matches(part)]
        twice = sorted({str(path) for path in files if files.count(path) > 1})
        problems += [f"{', '.join(twice)}: {place} names it twice."] if twice else []
    if absent:
        found = "does not exist" if len(absent) == 1 else "do not exist"
        hint = " For a share of the training rows write 10%." if any(map(_is_number, absent)) else ""
        problems.insert(0, f"{', '.join(absent)} {found} (looked in {Path.cwd()}).{hint}")
    if problems:
        raise InputError("\n  ".join(problems))


def _is_pattern(part: str) -> bool:
    return glob.has_magic(part)


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"\d*\.?\d+", text))


def _matches(part: str) -> list[Path]:
    """Return the file of a name, or the files of a pattern, sorted; none if there are none."""
    path = expand_path(part)
    if path.is_file() or not _is_pattern(part):
        return [path] if path.is_file() else []
    return [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(name)]


def _why_none(part: str) -> str:
    """Return why a folder or a pattern gives no files."""
    if Path(part).is_dir():
        return f"{part} is a folder: name its files, such as {Path(part) / '*.jsonl'}."
    return f"no file matches {part} (looked in {Path.cwd()}): check the pattern, and put it in quotation marks."


def absolute_place(place: str | Path, folder: str | Path = "") -> str:
    """Return a place whose files and patterns have paths from the root.

    Args:
        place: as for `files_at`, a data set of the Hub or a share, which stay as they are.
        folder: what relative paths begin at; empty: the current one.
    """
    parts = parts_of(place)
    return ",".join(_absolute_part(part, absolute_path(folder)) for part in parts) if parts else str(place)


def _absolute_part(part: str, folder: Path) -> str:
    path = expand_path(part)
    if _is_pattern(part) and not (folder / path).is_file():
        return os.path.normpath(os.path.join(glob.escape(str(folder)), path))
    return str(absolute_path(folder / path))


def moved_places(places: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return places as they are after the folder that held all files of them was moved.

    Args:
        places: with paths from the root, by split.
        folder: where the files are now, as they lay in the one that held them all.

    Raises:
        InputError: there are no files, the rows are the Hub's.
    """
    parts = {split: parts_of(place) for split, place in places.items()}
    parents = [str(Path(part).parent) for found in parts.values() for part in found]
    if not parents:
        raise InputError(f"--data {folder}: the rows are from the Hugging Face Hub, not from files.")
    common = os.path.commonpath(parents)
    return {
        split: ",".join(str(folder / Path(part).relative_to(common)) for part in found)
        for split, found in parts.items()
        if found
    }
