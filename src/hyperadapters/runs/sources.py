"""What runs read, looked for before anything is loaded or trained: backbones, files of rows, data sets of the Hub."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from hyperadapters._utils import InputError, UnavailableError, absolute_path, expand_path, few_names, listed
from hyperadapters.backbones import find_backbone
from hyperadapters.runs.experiment import Experiment
from hyperadapters.runs.task_choice import FilesTask, InstructionsTask, NamedTask, _places, entries_of
from hyperadapters.tasks import check_hub_place, check_places, is_on_hub, task_named


def check_sources(experiments: Iterable[Experiment]) -> None:
    """Look for every backbone and all data of experiments, each once: in seconds, and nothing is read.

    Args:
        experiments: any number of them.

    Raises:
        UnavailableError: some are not there, or the Hub does not answer; all of them in one error.
        InputError: there is no such task.
    """
    experiments = [*experiments]
    problems: list[InputError] = []
    for backbone in dict.fromkeys(experiment.backbone for experiment in experiments):
        _note(problems, partial(find_backbone, backbone))
    entries = dict.fromkeys(entry for experiment in experiments for entry in entries_of(experiment.task))
    _check_named(problems, {(entry.name, entry.data) for entry in entries if isinstance(entry, NamedTask)})
    for entry in entries:
        if not isinstance(entry, NamedTask):
            _note(problems, partial(_check_own, entry))
    if problems:
        passing = any(isinstance(problem, UnavailableError) for problem in problems)
        message = listed([*dict.fromkeys(map(str, problems))])
        raise (UnavailableError if passing else InputError)(message)


def _check_named(problems: list[InputError], places: Iterable[tuple[str, str]]) -> None:
    """Look for the rows of tasks of the package.

    Args:
        problems: what is wrong is added to them.
        places: names of tasks, each with its folder of official files, or with an empty text for the Hub.
    """
    by_folder: dict[str, list[str]] = {}
    for name, data in sorted(places):
        by_folder.setdefault(data, []).append(name)
    for data, names in by_folder.items():
        folder = expand_path(data) if data else None
        if folder and not folder.is_dir():
            problems.append(
                UnavailableError(f"data {absolute_path(data)}: there is no such folder, for {few_names(names)}.")
            )
            continue
        for name in names:
            _note(problems, partial(_check_task, name, folder))


def _check_own(task: FilesTask | InstructionsTask) -> None:
    """Raise UnavailableError unless the files of a user's own task, or its data sets of the Hub, are there."""
    for place in dict.fromkeys(filter(is_on_hub, _places(task).values())):
        check_hub_place(place)
    try:
        check_places(_places(task).values())
    except InputError as error:
        raise UnavailableError(str(error)) from error


def _check_task(name: str, folder: Path | None) -> None:
    """Raise InputError unless there is a task of this name, and its rows are there."""
    task_named(name).check_source(folder)


def _note(problems: list[InputError], look: Callable[[], object]) -> None:
    """Call a function, and add the InputError that it raises to the problems."""
    try:
        look()
    except InputError as error:
        problems.append(error)
