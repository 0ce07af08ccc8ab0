"""Settings that narrow a list of experiments or change all of them: `--only`, `--set`, `--backbone`, `--data`."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hyperadapters._utils import InputError
from hyperadapters.runs import Experiment, apply_changes, nearest, task_name, with_official_files
from hyperadapters.sweeps.paths import _setting_at

_MISSING = object()
"""In place of a setting that an experiment does not have; None is the value of some."""


def keep_matching(experiments: Sequence[Experiment], only: Mapping[str, str]) -> list[Experiment]:
    """Return the experiments that have certain settings.

    Args:
        experiments: in their order.
        only: `method`, `task`, `backbone` or a path such as `training.lr` -> the values to keep, with commas between
            them, compared as text or as numbers.

    Raises:
        InputError: none of them has such a setting, or no experiment is left.
    """
    left = list(experiments)
    for path, wanted in only.items():
        values = [_named_setting(experiment, path) for experiment in left]
        if left and all(value is _MISSING for value in values):
            raise InputError(f"--only {path}: no experiment has that setting. Try method, task, backbone, training.lr.")
        left = [e for e, value in zip(left, values, strict=True) if any(_matches(value, w) for w in wanted.split(","))]
        if not left:
            found = ", ".join(sorted({str(value) for value in values if value is not _MISSING}))
            raise InputError(f"--only {path}={wanted}: no experiment is left. There are: {found}.")
    return left


def change_all(
    experiments: Sequence[Experiment], *, backbone: str = "", data: str = "", changes: Mapping[str, str]
) -> list[Experiment]:
    """Return the experiments with settings changed in all of them.

    Args:
        experiments: in their order.
        backbone: the backbone of all; empty: each keeps its own.
        data: the folder of the official files, for named tasks and mixtures; empty: each keeps its own.
        changes: as `--set` takes them; a field of the method is changed where the method has it.

    Raises:
        InputError: a wrong setting, or a method's field that none of them has.
    """
    for path in changes:
        section, _, name = path.partition(".")
        if section == "method" and not any(hasattr(e.method, name) for e in experiments):
            raise InputError(f"--set {path}: none of the methods has that field.")
    found = []
    for experiment in experiments:
        own = {p: v for p, v in changes.items() if not p.startswith("method.") or hasattr(experiment.method, p[7:])}
        task = with_official_files(experiment.task, data) if data else experiment.task
        changed = replace(experiment, backbone=backbone or experiment.backbone, task=task)
        found.append(apply_changes(changed, own))
    return found


def _named_setting(experiment: Experiment, path: str) -> Any:
    """Return a setting by its path; `method` is the nearest preset's name, `task` the task's."""
    if path in ("method", "task"):
        return nearest(experiment.method) if path == "method" else task_name(experiment.task)
    return _setting_at(experiment.to_json(), path, _MISSING)


def _matches(value: Any, wanted: str) -> bool:
    """Return whether a setting is what a text says: 3e-3 is 0.003."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(wanted) == float(value)
    return str(value).lower() == wanted.strip().lower()
