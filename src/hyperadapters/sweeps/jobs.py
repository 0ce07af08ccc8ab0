"""The jobs of a sweep as data: what to run and where its files go, what became of it, what the folder says of it."""

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hyperadapters._utils import InputError, read_json, write_json
from hyperadapters.runs import EXPERIMENT, RESULT, STANDINGS, differing_checksums, read_result, standing_of
from hyperadapters.training import STATES

_ATTEMPTS = 2
"""A run that fails is tried once more."""


@dataclass(frozen=True)
class _Job:
    """One experiment and where its files go."""

    key: str
    """`experiment_key` of the experiment: the name of its folder."""
    experiment: dict[str, Any]
    """The experiment as JSON."""
    folder: str
    """The sweep's folder."""
    keep: bool
    """Keep the trained adapter, not the result alone."""
    track: Sequence[str] = ()
    """Names of the trackers that follow the run."""
    until: float = 0.0
    """Pause after this share of its steps; 0: run to the end."""
    pack: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Experiments by key that are trained in one pass with it; those that are done already are passed over."""

    @property
    def place(self) -> Path:
        """The run's own folder."""
        return Path(self.folder) / self.key

    @property
    def states(self) -> Path:
        """The folder in which the sweep's runs keep states of frozen layers for each other."""
        return Path(self.folder) / STATES

    @property
    def failure_file(self) -> Path:
        """Lists why the run failed, once for each attempt."""
        return Path(self.folder) / f"{self.key}.failed.json"


@dataclass(frozen=True)
class _Report:
    """What became of a job."""

    key: str
    outcome: Literal["done", "failed", "busy", "stopped", "paused"]
    """`busy`: another process runs it; `stopped`: by Ctrl-C, and a later sweep goes on with it; `paused`: it has come
    to the share of its steps that the job asked for."""
    reason: str = ""
    """Why it failed."""
    pack: Sequence[str] = ()
    """Keys of the runs that were trained in one pass with it and are done."""


class _DiedError(Exception):
    """The process or task that attempted a job ended without an answer; the message says how."""


def _settled(job: _Job) -> _Report | None:
    """Return the report of a job that is done or paused where it should, has failed for good or left a damaged result;
    None if it is to do.
    """
    if (job.place / RESULT).exists():
        again = "Delete that file, and the run is done again."
        try:
            result = read_result(job.place)
        except InputError as error:
            return _Report(job.key, "failed", f"{error} {again}")
        then, now = (_checksums_in(experiment["task"]) for experiment in (result.experiment, job.experiment))
        if changed := differing_checksums(then, now):
            return _Report(job.key, "failed", f"{job.place / RESULT} is of other data ({'; '.join(changed)}). {again}")
        return _Report(job.key, "done")
    if job.until and standing_of(job.place, job.until):
        return _Report(job.key, "paused")
    reasons = _past_failures(job)
    return _Report(job.key, "failed", reasons[-1]) if len(reasons) >= _ATTEMPTS else None


def _checksums_in(task: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksums of a task in JSON, by `task.split` of a mixture; it may be of another release."""
    if "tasks" not in task:
        return dict(task.get("checksums", {}))
    return {f"{one['name']}.{split}": found for one in task["tasks"] for split, found in _checksums_in(one).items()}


def _past_failures(job: _Job) -> list[str]:
    """Return why the run failed, once for each attempt.

    Raises:
        InputError: the file that says so is damaged.
    """
    if not job.failure_file.exists():
        return []
    reasons = read_json(job.failure_file).get("reasons")
    if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in reasons):
        raise InputError(f"{job.failure_file} lists no reasons: delete it, and the run is done again.")
    return reasons


def _record_failure(job: _Job, reason: str, *, final: bool = False) -> None:
    """Add a reason to the job's failures; a final one stands for all attempts that are left."""
    reasons = [*_past_failures(job), reason]
    reasons += [reason] * (_ATTEMPTS - len(reasons)) if final else []
    write_json(job.failure_file, {"experiment": job.experiment, "reasons": reasons})


def _discard(place: Path) -> None:
    """Remove a run's folder, `experiment.json` first: after a kill in between, nothing looks like a run to resume."""
    with contextlib.suppress(OSError):
        (place / EXPERIMENT).unlink()
    shutil.rmtree(place, ignore_errors=True)


def _discard_unbegun(job: _Job) -> None:
    """Remove a run's folder from which no run can be resumed, after a kill or a refusal.

    It has no `experiment.json`, or nothing else.
    """
    if not (job.place / EXPERIMENT).exists() or [path.name for path in job.place.iterdir()] == [EXPERIMENT]:
        _discard(job.place)


def _remove_all_but_json(folder: Path) -> None:
    """Remove the adapter and its card; the result, the experiment, standings and the trackers' folders stay."""
    for path in folder.iterdir():
        if path.is_file() and path.name not in (RESULT, EXPERIMENT, STANDINGS):
            path.unlink()
