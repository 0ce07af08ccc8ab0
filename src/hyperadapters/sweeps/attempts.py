"""One run of a sweep, attempted by one process at a time, by itself or together with others."""

import contextlib
import gc
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from hyperadapters._utils import InputError, files
from hyperadapters.runs import EXPERIMENT, RESULT, Experiment, run
from hyperadapters.sweeps.jobs import (
    DiedError,
    Job,
    Report,
    discard,
    discard_unbegun,
    past_failures,
    record_failure,
    remove_all_but_json,
    settled,
)
from hyperadapters.sweeps.packed_runs import run_together


def attempt(job: Job) -> Report:
    """Run a job to its end, first in one pass with those of its pack, unless it is settled or another process runs it.

    Returns:
        What became of it; an exception of the run is part of the report.
    """

    def until_it_ends(job: Job) -> Report:
        while not (report := settled(job)):
            try_once(job)
        return report

    try:
        attempt_pack(job)
    except KeyboardInterrupt:
        return Report(job.key, "stopped")
    done = [key for key in job.pack if (replace(job, key=key).place / RESULT).exists()]
    return replace(with_lock(job, until_it_ends), pack=done)


def with_lock(job: Job, carry_out: Callable[[Job], Report]) -> Report:
    """Return the report of `carry_out(job)` unless the job is settled or another process runs it.

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


def with_retry(job: Job, carry_out: Callable[[Job], Report]) -> Report:
    """Return the report of `carry_out(job)`; where the process that does it dies, that counts as a failed attempt."""
    while True:
        try:
            return carry_out(job)
        except DiedError as death:
            record_failure(job, str(death))
            if report := settled(job):
                return report


def attempt_pack(job: Job) -> None:
    """Run a job in one pass with those of its pack, unless it failed before; `attempt` runs alone what is left."""
    if past_failures(job):
        return
    jobs = [job, *(replace(job, key=key, experiment=values, pack={}) for key, values in job.pack.items())]
    with contextlib.ExitStack() as locks:
        mine = [one for one in jobs if not settled(one) and take_lock(one, locks)]
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


def take_lock(job: Job, locks: contextlib.ExitStack) -> bool:
    """Take a job's lock; False if another process has it."""
    with contextlib.suppress(Timeout):
        locks.enter_context(FileLock(f"{job.place}.lock", timeout=0))
        return True
    return False


def try_once(job: Job) -> None:
    """Run the experiment, or go on with it; record a failure and remove what it left."""
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


def free_device_memory() -> None:
    """Free what a failed run held on a GPU: it may have failed for want of memory, and the next run needs it."""
    gc.collect()
    torch.cuda.empty_cache()
