"""One run of a sweep, attempted by one process at a time; and the process that attempts runs as it is told.

`python -m hyperadapters.sweeps.worker` reads jobs, one JSON line each, and answers each with one line.
"""

import contextlib
import gc
import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout

from hyperadapters._utils import InputError, files
from hyperadapters.methods import METHODS
from hyperadapters.runs import EXPERIMENT, RESULT, Experiment, read_result, run
from hyperadapters.sweeps.packing import run_together

ATTEMPTS = 2
"""A run that fails is tried once more."""


@dataclass(frozen=True)
class Job:
    """One experiment and where its files go."""

    key: str
    experiment: dict[str, Any]
    folder: str
    keep: bool
    """Keep the trained adapter beside the result."""
    track: Sequence[str] = ()
    """Trackers that follow it."""
    beside: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Experiments, by key, that it is trained together with, as far as they are still to do."""

    @property
    def place(self) -> Path:
        """The run's own folder."""
        return Path(self.folder) / self.key

    @property
    def failures(self) -> Path:
        """Says why the run failed, each time it did."""
        return Path(self.folder) / f"{self.key}.failed.json"


@dataclass(frozen=True)
class Report:
    """What became of a job."""

    key: str
    outcome: Literal["done", "failed", "busy", "stopped"]
    """`busy`: another process is at it; `stopped`: by Ctrl-C, and a later sweep goes on with it."""
    reason: str = ""
    beside: Sequence[str] = ()
    """Keys of the runs beside it that are done with it."""


class DiedError(Exception):
    """What attempted a job came to an end without an answer; says how."""


def attempt(job: Job) -> Report:
    """Run a job to its end unless it is done, has failed for good, or another process is at it."""

    def until_it_ends(job: Job) -> Report:
        while not (report := settled(job)):
            try_once(job)
        return report

    try:
        attempt_together(job)
    except KeyboardInterrupt:
        return Report(job.key, "stopped")
    done = [key for key in job.beside if (replace(job, key=key).place / RESULT).exists()]
    return replace(with_lock(job, until_it_ends), beside=done)


def with_lock(job: Job, carry_out: Callable[[Job], Report]) -> Report:
    """Have a job carried out unless it is settled or another process is at it.

    A file lock keeps other processes away; the system releases it even when this one is killed.
    """
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{job.place}.lock", timeout=0):
            return settled(job) or carry_out(job)
    except Timeout:
        return Report(job.key, "busy")
    except KeyboardInterrupt:
        return Report(job.key, "stopped")


def settled(job: Job) -> Report | None:
    """The report of a job that is done, or has failed for good or left a damaged result; None of one still to do."""
    if (job.place / RESULT).exists():
        try:
            read_result(job.place)
        except InputError as error:
            return Report(job.key, "failed", f"{error} Delete that file, and the run is done again.")
        return Report(job.key, "done")
    reasons = failures(job)
    return Report(job.key, "failed", reasons[-1]) if len(reasons) >= ATTEMPTS else None


def with_retry(job: Job, carry_out: Callable[[Job], Report]) -> Report:
    """Have a job carried out; where what does it dies, that is a failure, and it is tried once more."""
    while True:
        try:
            return carry_out(job)
        except DiedError as death:
            record_failure(job, str(death))
            if report := settled(job):
                return report


def attempt_together(job: Job) -> None:
    """Run a job together with those beside it, unless it failed before; what is left without a result runs alone."""
    if failures(job):
        return
    jobs = [job, *(replace(job, key=key, experiment=values, beside={}) for key, values in job.beside.items())]
    with contextlib.ExitStack() as locks:
        mine = [one for one in jobs if not settled(one) and locked(one, locks)]
        if len(mine) < 2:
            return
        for one in mine:
            discard_unbegun(one)
        try:
            failed = run_together({one.place: Experiment.from_json(one.experiment) for one in mine})
        except Exception:
            traceback.print_exc()  # for the log; each run says by itself what is wrong with it
            failed = {}
            free_device_memory()
        for one in mine:
            if one.place in failed:
                record_failure(one, failed[one.place], final=True)
            elif (one.place / RESULT).exists() and not one.keep:
                remove_all_but_json(one.place)


def locked(job: Job, locks: contextlib.ExitStack) -> bool:
    """Take a job's lock unless another process has it."""
    with contextlib.suppress(Timeout):
        locks.enter_context(FileLock(f"{job.place}.lock", timeout=0))
        return True
    return False


def try_once(job: Job) -> None:
    """Run, or go on with, the experiment; a failure is recorded and what it left removed."""
    try:
        experiment = Experiment.from_json(job.experiment)
        discard_unbegun(job)
        begun = (job.place / EXPERIMENT).exists()
        if begun:  # the same run by its key; only where its data lie may have changed
            files.write_json(job.place / EXPERIMENT, job.experiment)
        run(experiment, job.place, resume=begun, track=job.track, quiet=True)
        if not job.keep:
            remove_all_but_json(job.place)
    except InputError as error:  # a wrong setting or a diverging loss would fail again
        record_failure(job, str(error), final=True)
    except Exception as error:
        free_device_memory()
        record_failure(job, f"{type(error).__name__}: {error}")
        discard(job.place)


def discard(place: Path) -> None:
    """Remove a run's folder, first of all what says that there is a run to go on with: a kill leaves none in part."""
    with contextlib.suppress(OSError):
        (place / EXPERIMENT).unlink()
    shutil.rmtree(place, ignore_errors=True)


def discard_unbegun(job: Job) -> None:
    """Remove what a kill left of a run's folder while it was made or removed: nothing can go on from it."""
    if not (job.place / EXPERIMENT).exists():
        discard(job.place)


def free_device_memory() -> None:
    """What a run that broke off held on a GPU, it may have broken off for want of it, goes back before the next."""
    gc.collect()
    torch.cuda.empty_cache()


def remove_all_but_json(folder: Path) -> None:
    """Keep the result, the experiment and trackers' folders; the adapter and its card go."""
    for path in folder.iterdir():
        if path.is_file() and path.name not in (RESULT, EXPERIMENT):
            path.unlink()


def failures(job: Job) -> list[str]:
    """Why the run failed, once for each attempt."""
    return list(files.read_json(job.failures)["reasons"]) if job.failures.exists() else []


def record_failure(job: Job, reason: str, *, final: bool = False) -> None:
    """Add a reason; a final one stands for all attempts that are left."""
    reasons = [*failures(job), reason]
    reasons += [reason] * (ATTEMPTS - len(reasons)) if final else []
    files.write_json(job.failures, {"experiment": job.experiment, "reasons": reasons})


def end_with(parent: int) -> None:
    """Leave at once when the process that started this one is gone; a checkpoint is never older than a minute."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def serve() -> None:
    """Attempt jobs from standard input until it ends. Standard output carries reports alone."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    assert METHODS  # imported before the first job, so that its time is not the job's
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            reports.write(json.dumps(asdict(attempt(Job(**json.loads(line))))) + "\n")
            reports.flush()


if __name__ == "__main__":
    serve()
