"""Executors: what carries the jobs of a sweep out, each job in the next slot that is free."""

import queue
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Protocol

from hyperadapters.sweeps.attempts import _with_retry
from hyperadapters.sweeps.jobs import _Job, _Report
from hyperadapters.sweeps.progress import _Progress

Executor = Callable[[Sequence[_Job], _Progress], Generator[_Report]]
"""Carries jobs out in any order, tells the progress which are under way, and yields a report of each."""


class _WorkerSlot(Protocol):
    """What carries out one job at a time: a process of this machine, or a task of a cluster."""

    def do(self, job: _Job) -> _Report:
        """Attempt a job and return its report.

        Raises:
            DiedError: the process or task ended without an answer.
        """

    def interrupt(self) -> None:
        """Stop the job that is under way; called from another thread."""

    def close(self) -> None:
        """Release what the slot holds."""


def _run_on_slots(slots: Sequence[_WorkerSlot], jobs: Sequence[_Job], progress: _Progress) -> Generator[_Report]:
    """Carry jobs out, each in the next slot that is free, and yield their reports; retry a job once whose slot dies.

    An exception of the caller, such as Ctrl-C, interrupts the slots.
    """
    idle: queue.SimpleQueue[_WorkerSlot] = queue.SimpleQueue()
    for slot in slots:
        idle.put(slot)

    def do(job: _Job) -> _Report:
        slot = idle.get()
        progress.started(job.key)
        try:
            return _with_retry(job, slot.do)
        finally:
            idle.put(slot)

    with ThreadPoolExecutor(max(1, len(slots))) as pool:
        futures = [pool.submit(do, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for slot in slots:
                slot.interrupt()
            raise
        finally:
            for slot in slots:
                slot.close()
