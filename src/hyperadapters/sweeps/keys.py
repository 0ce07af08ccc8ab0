"""Names of experiments: what makes one itself, and the folder of its run."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace

from hyperadapters._utils import InputError, truncate_filename
from hyperadapters.methods import METHODS
from hyperadapters.runs import (
    Experiment,
    FilesTask,
    InstructionsTask,
    TaskChoice,
    entries_of,
    identity_of,
    nearest,
    task_name,
    with_checksums,
)


def _keyed(experiments: Iterable[Experiment]) -> dict[str, Experiment]:
    """Return experiments by their keys, with the checksums of their data as they are now.

    An experiment whose data are missing or others is returned as it is: its run says what is wrong.

    Args:
        experiments: equal ones are returned once.
    """
    checked: dict[TaskChoice, TaskChoice] = {}
    found = {}
    for experiment in experiments:
        task = experiment.task
        if task.checksums or task not in checked:
            with contextlib.suppress(InputError):
                checked[task] = with_checksums(experiment).task
        known = replace(experiment, task=checked.get(task, task))
        found[experiment_key(known)] = known
    return found


def _with_known_files(experiment: Experiment) -> Experiment:
    """Return an experiment on own files with their checksums, if the files are there."""
    own = any(isinstance(entry, FilesTask | InstructionsTask) for entry in entries_of(experiment.task))
    if own and not experiment.task.checksums:
        with contextlib.suppress(InputError):
            return with_checksums(experiment)
    return experiment


def experiment_key(experiment: Experiment) -> str:
    """Return a unique name for an experiment, fit for a folder: task and method, and a hash of what makes it itself.

    Own files are told apart by what they hold, not by where they lie, as far as they are there.

    Args:
        experiment: any.
    """
    text = json.dumps(identity_of(_with_known_files(experiment)), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    name = nearest(experiment.method)
    method = name if METHODS.get(name) == experiment.method else experiment.method.label
    readable = re.sub(r"[^\w.+-]+", "-", f"{task_name(experiment.task)}_{method}")
    return f"{truncate_filename(readable)}_{digest}"
