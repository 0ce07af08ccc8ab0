"""One run of a sweep, attempted by one process at a time, by itself or together with others."""

import contextlib
import gc
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from hyperadapters._utils import CannotWriteError, InputError, UnavailableError
from hyperadapters.runs import EXPERIMENT, RESULT, Experiment, run, train_until
from hyperadapters.sweeps.jobs import (
    _DiedError,
    _discard,
    _discard_unbegun,
    _Job,
    _past_failures,
    _record_failure,
    _remove_all_but_json,
    _Report,
    _settled,
)
from hyperadapters.sweeps.packed_runs import _run_together


def _attempt(job: _Job) -> _Report:
    """Run a job to its end, first in one pass with those of its pack, unless it is settled or another process runs it.

    Returns:
        What became of it; an exception of the run is part of the report.
    """

    def until_it_ends(job: _Job) -> _Report:
        while not (report := _settled(job)):
            if report := _try_once(job):
                return report
        return report

    try:
        _attempt_pack(job)
    except KeyboardInterrupt:
        return _Report(job.key, "stopped")
    pack = [_settled(replace(job, key=key, experiment=values, pack={})) for key, values in job.pack.items()]
    done = [report.key for report in pack if report and report.outcome in ("done", "paused")]
    return replace(_with_lock(job, until_it_ends), pack=done)


def _with_lock(job: _Job, carry_out: Callable[[_Job], _Report]) -> _Report:
    """Return the report of `carry_out(job)` unless the job is settled or another process runs it.

    A file lock keeps other processes away; the system releases it even when this one is killed.
    """
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{job.place}.lock", timeout=0):
            return _settled(job) or carry_out(job)
    except Timeout:
        return _Report(job.key, "busy")
    except KeyboardInterrupt:
        return _Report(job.key, "stopped")


def _with_retry(job: _Job, carry_out: Callable[[_Job], _Report]) -> _Report:
    """Return the report of `carry_out(job)`; where the process that does it dies, that counts as a failed attempt."""
    while True:
        try:
            return carry_out(job)
        except _DiedError as death:
            _record_failure(job, str(death))
            if report := _settled(job):
                return report


def _attempt_pack(job: _Job) -> None:
    """Run a job in one pass with those of its pack, unless it failed before; `attempt` runs alone what is left."""
    if _past_failures(job):
        return
    jobs = [job, *(replace(job, key=key, experiment=values, pack={}) for key, values in job.pack.items())]
    with contextlib.ExitStack() as locks:
        mine = [one for one in jobs if not _settled(one) and _take_lock(one, locks)]
        if len(mine) < 2:
            return
        for one in mine:
            _discard_unbegun(one)
        try:
            together = {one.place: Experiment.from_json(one.experiment) for one in mine}
            failed = _run_together(together, job.until, job.states)
        except InputError:  # each run says by itself what is wrong with it
            failed = {}
            for one in mine:
                _discard_unbegun(one)
        except Exception:
            traceback.print_exc()  # for the log
            failed = {}
            _free_device_memory()
        for one in mine:
            if one.place in failed:
                _record_failure(one, failed[one.place], final=True)
            elif (one.place / RESULT).exists() and not one.keep:
                _remove_all_but_json(one.place)


def _take_lock(job: _Job, locks: contextlib.ExitStack) -> bool:
    """Take a job's lock; False if another process has it."""
    with contextlib.suppress(Timeout):
        locks.enter_context(FileLock(f"{job.place}.lock", timeout=0))
        return True
    return False


def _try_once(job: _Job) -> _Report | None:
    """Run the experiment, or go on with it; record a failure and remove what it left.

    Returns:
        A report of what is not recorded, since a later sweep may do better: a backbone or data that cannot be read.
    """
    try:
        experiment = Experiment.from_json(job.experiment)
        _discard_unbegun(job)
        if job.until and train_until(experiment, job.place, job.until, job.states):
            return None
        begun = (job.place / EXPERIMENT).exists()
        run(experiment, job.place, resume=begun, states=job.states, track=job.track, quiet=True)
        if not job.keep:
            _remove_all_but_json(job.place)
    except CannotWriteError as error:
        if not isinstance(error.__cause__, IsADirectoryError | NotADirectoryError):
            raise  # nor could what became of it be written
        _record_failure(job, f"{type(error).__name__}: {error}")
        _discard(job.place)  # something stood where a file belongs
    except UnavailableError as error:
        return _Report(job.key, "failed", str(error))
    except InputError as error:  # a wrong setting or a diverging loss would fail again
        _record_failure(job, str(error), final=True)
    except Exception as error:
        _free_device_memory()
        _record_failure(job, f"{type(error).__name__}: {error}")
        _discard(job.place)
    return None


def _free_device_memory() -> None:
    """Free what a failed run held on a GPU: it may have failed for want of memory, and the next run needs it."""
    gc.collect()
    torch.cuda.empty_cache()
