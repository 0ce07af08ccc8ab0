"""Records of a data set on the Hugging Face Hub that a user names."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hyperadapters._utils import InputError, UnavailableError, ask_hub, check_extra


class _HubPlace(NamedTuple):
    """One split of a data set on the Hub."""

    repository: str
    configuration: str | None
    split: str


def _parse_hub_place(place: str, split: str) -> _HubPlace:
    """Return what hf://owner/name, hf://owner/name/config or either with :split after it names.

    Args:
        place: as the user gives it.
        split: the split to take where none is named.

    Raises:
        InputError: it is written otherwise.
    """
    found = re.fullmatch(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+)(?:/([^/:]+))?(?::(.+))?", place)
    if not found:
        raise InputError(
            f"{place}: write a data set of the Hugging Face Hub as hf://owner/name, with /configuration and :split "
            "after it where it has several, such as hf://nyu-mll/glue/mrpc:validation."
        )
    return _HubPlace(found[1], found[2], found[3] or split)


def check_hub_place(place: str) -> None:
    """Raise UnavailableError unless the data set of a place is on the Hub or in the local cache; nothing is read.

    Args:
        place: as for `_parse_hub_place`.

    Raises:
        InputError: it is written otherwise, or `datasets` is not installed.
    """
    where = _parse_hub_place(place, "train")
    check_extra("data", f"{place}, a data set of the Hub")
    if reason := _why_not_on_hub(where.repository):
        raise UnavailableError(
            f"{place} could not be read from the Hugging Face Hub or its local cache: {reason}. Connect to the "
            "network, or give files."
        )


def _why_not_on_hub(repository: str) -> str:
    """Return why a data set cannot be read, after one question to the Hub; empty: it can, there or from the cache.

    Args:
        repository: its name, such as nyu-mll/glue.
    """
    answer = ask_hub(repository, "README.md", kind="dataset")
    return "" if answer.state == "found" or _is_cached(repository) else answer.reason


def _is_cached(repository: str) -> bool:
    """Return whether `datasets` has some of a data set in its cache."""
    from datasets.load import CachedDatasetModuleFactory  # noqa: PLC0415 (slow to import)

    try:
        CachedDatasetModuleFactory(repository).get_module()
    except FileNotFoundError:
        return False
    return True


def _hub_records(place: str, split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the records of one split, each after its place; classes that the data set names have their names.

    Args:
        place: as for `_parse_hub_place`.
        split: as there.

    Raises:
        InputError: the place is written otherwise, or the data set cannot be read.
        UnavailableError: as for `check_hub_place`.
    """
    check_hub_place(place)
    import datasets  # noqa: PLC0415 (only where a Hub data set is asked for)

    where = _parse_hub_place(place, split)
    try:
        found = datasets.load_dataset(where.repository, where.configuration, split=where.split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        why = " ".join(str(error).split())[:300]
        kind = UnavailableError if isinstance(error, OSError) else InputError
        raise kind(
            f"{place}, split {where.split}, could not be read from the Hugging Face Hub or its local cache: {why}\n  "
            "Name configuration and split as hf://owner/name/configuration:split; without a network, give files."
        ) from error
    classes = {name: feature for name, feature in found.features.items() if isinstance(feature, datasets.ClassLabel)}
    for number, record in enumerate(found):
        yield f"{where.split}:{number}", {**record, **_named_classes(record, classes)}


def _named_classes(record: Mapping[str, Any], classes: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the names of a record's classes by their column; None where it has none, which data sets write as -1."""
    return {
        name: None if record[name] is None or record[name] < 0 else feature.int2str(record[name])
        for name, feature in classes.items()
    }
