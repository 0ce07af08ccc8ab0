"""Many adapters in one repository of the Hub: an index of their tasks, and only those fetched that are needed."""

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from hyperadapters._utils import InputError, UnavailableError, few_names, read_json, resolve_task
from hyperadapters.delta import CARD, CONFIG, TENSORS
from hyperadapters.storage.repositories import (
    _download,
    _fetch_files,
    _parse_repository,
    _Repository,
    locate_adapter,
)

INDEX = "adapters.json"
"""The file that lists the tasks of all adapters of a repository."""

_FORMAT = 1
"""Version of the index; a reader refuses newer ones."""


@dataclass(frozen=True)
class Collection:
    """A repository of the Hub with an adapter in each of its sub-folders."""

    name: str
    """Of the repository."""
    folder: Path
    """In the local Hub cache; its last part is the commit."""
    tasks: Mapping[str, str]
    """The sub-folder of each task; the task of an adapter of one task is called as its sub-folder, those of an adapter
    of several have that and their own name."""
    revision: str = ""
    """The branch or tag that was asked for; empty: the main branch."""

    def latest(self) -> "Collection":
        """Return what the repository holds now at the same revision; where the Hub does not answer, what it held.

        Raises:
            InputError: its index is damaged.
        """
        try:
            folder = _fetch_files(_Repository(self.name, self.revision), INDEX, (INDEX, CARD))
        except UnavailableError:
            return self
        return replace(self, folder=folder, tasks=_read_index(folder / INDEX)) if folder != self.folder else self

    def fetch(self, tasks: Iterable[str]) -> None:
        """Fetch the adapters of some tasks, as far as they are not in the local Hub cache.

        Args:
            tasks: their names, as in `tasks`.

        Raises:
            UnavailableError: the Hub does not answer, or lacks one of them.
        """
        missing = [place for place in dict.fromkeys(self.tasks[task] for task in tasks) if not self._has(place)]
        if not missing:
            return
        every = len(missing) == len(set(self.tasks.values()))  # thousands of patterns for thousands of files are slow
        places = ["*"] if every else [glob.escape(place) for place in missing]
        try:
            commit = _Repository(self.name, self.folder.name)
            _download(commit, [f"{place}/{file}" for place in places for file in (CONFIG, TENSORS)])
            why = "the Hub lacks their files"
        except Exception as error:  # as in `ask_hub`: the HTTP library's errors differ by release of huggingface_hub
            why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        absent = [place for place in missing if not self._has(place)]
        if absent:
            raise UnavailableError(f"adapters of {self.name} could not be fetched: {few_names(absent)} ({why}).")

    def _has(self, place: str) -> bool:
        return all((self.folder / place / file).is_file() for file in (CONFIG, TENSORS))


def locate_adapters(place: str | Path) -> Path | Collection:
    """Return the folder of an adapter or of many, or what a repository of the Hub with many of them holds.

    Args:
        place: as for `locate_adapter`.

    Raises:
        InputError: as for `locate_adapter`, or the repository's index is damaged.
    """
    try:
        return locate_adapter(place)
    except UnavailableError as error:
        repository = _parse_repository(str(place))
        if repository is None:
            raise
        try:
            folder = _fetch_files(repository, INDEX, (INDEX, CARD))
        except UnavailableError:
            raise error from None
    return Collection(repository.name, folder, _read_index(folder / INDEX), repository.revision)


def fetch_adapters(place: str | Path, tasks: Iterable[str]) -> dict[str, Path]:
    """Return the folders of adapters for `ha.Pool`, out of a repository of the Hub or a folder that holds many.

    Only these are fetched, into the local Hub cache.

    Args:
        place: `user/name` or `user/name@revision` of a repository that `hyperadapters push` made of a folder of
            adapters; or such a folder.
        tasks: names of sub-folders; the last part of a name will do.

    Raises:
        InputError: there is no such repository or folder, or no such adapter in it (the error names those there are).
    """
    found = locate_adapters(place)
    wanted = [*dict.fromkeys(tasks)]
    if isinstance(found, Path):
        known = {path.parent.relative_to(found).as_posix(): "" for path in sorted(found.rglob(CONFIG))}
        return {task: found / resolve_task(task, known, f"the folder {found}") for task in wanted}
    inside = {place: task for task, place in found.tasks.items()}
    whole = {task: resolve_task(task, inside, f"the repository {found.name}") for task in wanted}
    found.fetch(inside[place] for place in whole.values())
    return {task: found.folder / place for task, place in whole.items()}


def _index_of(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the index of adapters: each task with its adapter's sub-folder.

    Args:
        configs: the `adapter_config.json` of each adapter, by its sub-folder.
    """
    tasks: dict[str, str] = {}
    for place, config in configs.items():
        tasks |= {f"{place}/{task}": place for task in config["tasks"]} or {place: place}
    return {"format": _FORMAT, "tasks": tasks}


def _read_index(path: Path) -> dict[str, str]:
    """Return the sub-folder of each task.

    Raises:
        InputError: the index is damaged or of a newer version, or names a place outside its repository.
    """
    index = read_json(path)
    tasks = index.get("tasks")
    if index.get("format") != _FORMAT:
        raise InputError(f"{path} has format {index.get('format')!r}; this version reads {_FORMAT}.")
    if not isinstance(tasks, dict) or not tasks or not all(_is_inside(task, place) for task, place in tasks.items()):
        raise InputError(f"{path} is damaged: it does not list sub-folders of the repository by their tasks.")
    return tasks


def _is_inside(task: str, place: object) -> bool:
    """Return whether an entry of an index is a sub-folder, under the name of the task that it should have."""
    if not isinstance(place, str) or not (task == place or task.startswith(f"{place}/")):
        return False
    parts = PurePosixPath(place).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and "\\" not in place and "/".join(parts) == place
