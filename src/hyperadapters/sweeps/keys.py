"""Names of experiments: what makes one itself, and the folder of its run."""

import hashlib
import json
import re
from typing import Any

from hyperadapters._utils import truncate_filename
from hyperadapters.methods import METHODS
from hyperadapters.runs import Experiment, nearest, task_name
from hyperadapters.sweeps.paths import _without_paths

_NOT_IDENTITY = ("start.adapter", "task.data", "training.checkpoint_seconds")
"""Paths of settings that may change between a run and its resumption: where files are, how often checkpoints are."""


def _identity(experiment: Experiment) -> dict[str, Any]:
    """Return the JSON of an experiment without where its files are and how often checkpoints are written."""
    return _without_paths(experiment.to_json(), _NOT_IDENTITY)


def experiment_key(experiment: Experiment) -> str:
    """Return a unique name for an experiment, fit for a folder: task and method, and a hash of its `identity`."""
    text = json.dumps(_identity(experiment), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    name = nearest(experiment.method)
    method = name if METHODS.get(name) == experiment.method else experiment.method.label
    readable = re.sub(r"[^\w.+-]+", "-", f"{task_name(experiment.task)}_{method}")
    return f"{truncate_filename(readable)}_{digest}"
