"""What the adapters in a folder or a repository answer, from their configs alone: nothing is loaded."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from hyperadapters._utils import InputError, find_files, resolve_task, shortened, stated_checksum
from hyperadapters.delta import CONFIG, TENSORS
from hyperadapters.methods import method_from_json
from hyperadapters.serving.pool_slots import _adapter_recipe
from hyperadapters.serving.saved_tasks import _embedding_task, saved_task
from hyperadapters.storage import Collection, locate_adapter, read_config
from hyperadapters.tasks import TaskFormat
from hyperadapters.training import Evaluation, Text

_ATTEMPTS = 3
"""How often a task is described, where adapters come and go meanwhile."""


class _AdapterPlace(NamedTuple):
    """Where a task's adapter lies, and the task's name inside it where it holds several."""

    folder: Path
    inner: str = ""


@dataclass(frozen=True)
class ServedTask:
    """A task that rows name, and how it is answered."""

    name: str
    """Whole, as the catalogue has it."""
    place: _AdapterPlace
    version: str
    """The checksum that the file of the tensors states: another one where the adapter was trained or saved anew."""
    group: str
    """The adapters that one batch can mix: of one method, or in one folder."""
    pooled: bool
    """Whether the group is a pool, and not the tasks of one Delta."""
    embeds: bool
    """Whether it has neither a task nor a head, and gives the texts' vectors."""
    form: TaskFormat
    text: Text
    evaluation: Evaluation
    precision: str
    """The type in which its backbone is kept."""
    head: str
    """What the backbone's own head reads, as `load_backbone` takes it."""
    config: dict[str, Any] = field(repr=False, compare=False)
    """As `read_config` gave it."""

    @property
    def key(self) -> str:
        """What its group calls it: in a pool, two versions of an adapter are two adapters."""
        return f"{self.name}@{self.version}" if self.pooled else self.place.inner

    @property
    def encoder(self) -> bool:
        """Whether a head on an encoder answers, and no text."""
        return self.config["backbone"].get("outputs") is not None

    def read_again(self) -> "ServedTask":
        """Return what the files say now.

        Raises:
            InputError: they are gone or damaged.
        """
        return _describe(self.name, self.place)


class Catalogue:
    """The tasks of the adapters in a folder or in a repository of the Hub, each by a name.

    A task is named by its adapter's sub-folder; where an adapter holds several, the task's own name stands behind it.
    What an adapter's files say is read when the task is first asked for, and kept. Threads may use one at once.
    """

    def __init__(self, source: Path | Collection) -> None:
        """Find the tasks.

        Args:
            source: a folder with an adapter or with several in its sub-folders, or a repository of the Hub.

        Raises:
            InputError: there is no adapter.
        """
        self.source = source
        self.damaged: dict[str, InputError] = {}
        """Adapters whose config cannot be read, by the sub-folder, and why."""
        self._places: dict[str, _AdapterPlace] = {}
        self._described: dict[str, ServedTask] = {}
        self._seen: dict[str, _Seen] = {}
        self._fetched: dict[str, Path] = {}
        """Adapters that were added from repositories of their own."""
        self._dropped: set[str] = set()
        """What was dropped, and is not found again."""
        self._touched: set[str] = set()
        """Adapters that were taken or dropped since the last look began."""
        self._changing = threading.RLock()
        self._alone = isinstance(source, Path) and (source / CONFIG).is_file()
        self.find()
        if not self._places and not self.damaged:
            raise InputError(
                f"there is no adapter at {source}: neither it nor a folder in it has an {CONFIG}. Name a folder that "
                "`train` wrote, or one with such folders in it."
            )

    def __iter__(self) -> Iterator[str]:
        yield from tuple(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    @property
    def where(self) -> str:
        """What has the adapters, in words."""
        found = self.source
        return f"the repository {found.name}" if isinstance(found, Collection) else f"the folder {found}"

    def find(self) -> None:
        """Look for adapters again; what is known of those whose files have not changed stays known.

        Raises:
            InputError: the folder is not there, or the repository's index is damaged. All stays as it was then.
        """
        if isinstance(self.source, Path) and not self.source.is_dir():
            raise InputError(f"{self.where} is not there.")
        with self._changing:
            self._touched.clear()
        if isinstance(self.source, Collection):
            self.source = self.source.latest()
        seen = {name: self._look(name, folder) for name, folder in self._folders().items()}
        with self._changing:
            meanwhile = {name: self._seen[name] for name in self._touched if name in self._seen}
            kept = {name: found for name, found in seen.items() if name not in self._dropped | self._touched}
            self._replace({**kept, **meanwhile})

    def _replace(self, seen: "dict[str, _Seen]") -> None:
        """Make these the adapters that there are. Threads that ask meanwhile see all of what was, or all of what is."""
        places: dict[str, _AdapterPlace] = {}
        for found in seen.values():
            places |= {task: place for task, place in found.tasks.items() if task not in self._dropped}
        same = {name for name, found in seen.items() if found == self._seen.get(name)}
        self._described = {
            name: task
            for name, task in self._described.items()
            if name in places and self._adapter_of(name, places[name]) in same
        }
        self.damaged = {name: found.error for name, found in seen.items() if found.error}
        self._seen, self._places = seen, places

    def _adapter_of(self, task: str, place: _AdapterPlace) -> str:
        """Return the name of the adapter that answers a task: that of its sub-folder; empty if it is the only one."""
        if self._alone:
            return ""
        return task[: -len(place.inner)].rstrip("/") if place.inner else task

    def _folders(self) -> dict[str, Path]:
        """Return the folder of each adapter by its name; of one that is the whole source, the name is empty."""
        if isinstance(self.source, Collection):
            return {place: self.source.folder / place for place in dict.fromkeys(self.source.tasks.values())}
        if self._alone:
            return {"": self.source}
        found = {c.parent.relative_to(self.source).as_posix(): c.parent for c in find_files(self.source, CONFIG)}
        return {**found, **self._fetched}

    def _look(self, name: str, folder: Path) -> "_Seen":
        """Return what an adapter's files are, and its tasks."""
        if isinstance(self.source, Collection) and name not in self._fetched:
            inside = {task: task[len(name) + 1 :] for task, place in self.source.tasks.items() if place == name}
            return _Seen((folder,), {task: _AdapterPlace(folder, inner) for task, inner in inside.items()})
        signature = (_signature(folder / CONFIG), _signature(folder / TENSORS))
        before = self._seen.get(name)
        if before and before.signature == signature:
            return before
        try:
            tasks = read_config(folder)["tasks"]
        except InputError as error:
            return _Seen(signature, {}, error)
        if not name:
            return _Seen(
                signature, {t: _AdapterPlace(folder, t) for t in tasks} or {folder.name: _AdapterPlace(folder)}
            )
        several = {f"{name}/{task}": _AdapterPlace(folder, task) for task in tasks}
        return _Seen(signature, several or {name: _AdapterPlace(folder)})

    def resolve(self, name: str) -> str:
        """Return the whole name of a task; the last part will do where that is unique.

        Raises:
            InputError: there is none or several of it, or its adapter is damaged.
        """
        if name in self.damaged:
            raise self.damaged[name]
        return resolve_task(name, self._places, self.where)

    def place(self, name: str) -> _AdapterPlace:
        """Return where the adapter of a task lies; of a repository, it is fetched first.

        Args:
            name: as for `resolve`.

        Raises:
            InputError: as for `resolve`; or the Hub does not answer.
        """
        places = self._places
        if name in self.damaged:
            raise self.damaged[name]
        whole = resolve_task(name, places, self.where)
        if isinstance(self.source, Collection) and whole in self.source.tasks:
            self.source.fetch([whole])
        return places[whole]

    def described(self, name: str) -> ServedTask | None:
        """Return what is known of a task by its whole name, without a look at its files; None: nothing yet."""
        return self._described.get(name)

    def task(self, name: str) -> ServedTask:
        """Return what the files say of a task, as they were when it was first asked for.

        Args:
            name: as for `resolve`.

        Raises:
            InputError: as for `place`; or the files are damaged.
        """
        for _ in range(_ATTEMPTS):
            whole = self.resolve(name)
            if known := self._described.get(whole):
                return known
            seen = self._seen
            found = _describe(whole, self.place(whole))
            with self._changing:
                if seen is self._seen:  # else it may have been dropped or taken anew
                    self._described[whole] = found
                    return found
        return found

    def read(self, name: str, repository: str = "") -> "_FoundAdapter":
        """Read what the files of an adapter say, in its sub-folder or a repository of the Hub; `take` makes it known.

        Args:
            name: of the sub-folder; or what an adapter of a repository is to be called.
            repository: `user/name` or `user/name@revision` of one adapter on the Hub.

        Raises:
            InputError: the name is none of a sub-folder, there is no adapter, or it is damaged.
        """
        if not _is_sub_folder(name):
            raise InputError(f"{name!r} is no name of a sub-folder, such as mrpc or glue/mrpc.")
        if self._alone:
            raise InputError(f"{self.where} is one adapter: serve a folder with one in each sub-folder.")
        if repository:
            folder = locate_adapter(repository)
        elif isinstance(self.source, Collection):
            self.find()
            if name not in self.source.tasks.values():
                raise InputError(f"{self.where} has no adapter {name!r}.")
            folder = self.source.folder / name
        else:
            folder = self._fetched.get(name) or self.source / name
        found = self._look(name, folder)
        if found.error:
            raise found.error
        if isinstance(self.source, Collection) and not repository:
            self.source.fetch(found.tasks)
        tasks = [_describe(task, place) for task, place in found.tasks.items()]
        return _FoundAdapter(name, tasks, found, folder if repository else None)

    def take(self, found: "_FoundAdapter") -> None:
        """Make an adapter known, in place of what had its name."""
        with self._changing:
            self._touched.add(found.name)
            self._dropped -= {found.name, *(task.name for task in found.tasks)}
            self._fetched |= {found.name: found.fetched} if found.fetched else {}
            self._replace({**self._seen, found.name: found.seen})
            self._described = {**self._described, **{task.name: task for task in found.tasks}}

    def drop(self, name: str) -> list[str]:
        """Forget an adapter, or one task of one, until it is added again, and return the tasks' names; the files stay.

        Args:
            name: of the sub-folder or, whole, of a task.

        Raises:
            InputError: there is none of this name.
        """
        with self._changing:
            if name not in self._seen and name not in self._places:
                raise InputError(f"{self.where} knows no adapter {shortened(name)!r}; it is named whole.")
            gone = [task for task, place in self._places.items() if name in (task, self._adapter_of(task, place))]
            self._dropped.add(name)
            self._touched |= {self._adapter_of(task, self._places[task]) for task in gone} | {name}
            self._fetched.pop(name, None)
            self._replace({other: found for other, found in self._seen.items() if other != name})
            return gone


class _Seen(NamedTuple):
    """An adapter's files as they were looked at."""

    signature: tuple[Any, ...]
    """Equal as long as they have not changed."""
    tasks: dict[str, _AdapterPlace]
    error: InputError | None = None
    """Why they cannot be read."""


@dataclass(frozen=True)
class _FoundAdapter:
    """An adapter that was read."""

    name: str
    tasks: list[ServedTask]
    seen: _Seen
    fetched: Path | None
    """Where it lies, if it was fetched from a repository of its own."""


def _signature(path: Path) -> tuple[int, ...]:
    """Return what changes where a file is written; nothing where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _is_sub_folder(name: str) -> bool:
    """Return whether a name is one of a folder below another, which no part of it leaves."""
    parts = PurePosixPath(name).parts
    plain = all(part not in ("..", ".", "/") and "\0" not in part and "\\" not in part for part in parts)
    plain = plain and all(len(part.encode()) < 256 for part in parts)
    return bool(parts) and plain and "/".join(parts) == name


def _describe(name: str, place: _AdapterPlace) -> ServedTask:
    """Return what the files of an adapter say of a task.

    Raises:
        InputError: they are damaged.
    """
    config, folder = read_config(place.folder), place.folder
    version = stated_checksum(folder / TENSORS)
    embeds = _embedding_task(config)
    form, text, evaluation = embeds or saved_task(config, folder, place.inner)
    pooled = not config["tasks"] and method_from_json(config["method"]).separable
    held = (config["backbone"]["precision"], config["backbone"]["head"])
    alike = {**_adapter_recipe(config, folder), "backbone": held} if pooled else {}
    group = json.dumps(alike, sort_keys=True) if pooled else f"{folder}@{version}"
    return ServedTask(name, place, version, group, pooled, embeds is not None, form, text, evaluation, *held, config)
