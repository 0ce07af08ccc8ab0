"""Tasks by name. Every module of this package that defines `TASKS` adds its own; the directory is the index."""

import importlib
import pkgutil
from pathlib import Path

from hyperadapters._utils import InputError, neighbours
from hyperadapters.tasks.task import Task

_MODULES = [
    importlib.import_module(f"{__package__}.{found.name}")
    for found in pkgutil.iter_modules([str(Path(__file__).parent)])
    if found.name != "registry"
]

TASKS: dict[str, Task] = {name: task for module in _MODULES for name, task in getattr(module, "TASKS", {}).items()}
"""Every task that comes with the package, by name."""


def task_named(name: str) -> Task:
    """Return a task by its name in `TASKS`.

    Raises:
        InputError: there is no such task; names the nearest.
    """
    if name not in TASKS:
        raise InputError(f"there is no task {name!r}. {neighbours(name, TASKS)}")
    return TASKS[name]
