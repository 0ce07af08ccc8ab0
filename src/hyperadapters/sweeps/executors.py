"""Engines: what carries the jobs of a sweep out, here in processes of this machine."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from hyperadapters._utils import span
from hyperadapters.sweeps.worker import DiedError, Job, Report, with_retry


@dataclass
class Progress:
    """One line: done, running, failed, time left."""

    total: int
    done: int = 0
    failed: int = 0
    elsewhere: int = 0
    running: dict[str, float] = field(default_factory=dict)
    """Key -> when it started."""
    finished_here: int = 0
    brought: set[str] = field(default_factory=set)
    """Runs that are done because another, which has ended, was trained together with them."""
    begun: float = field(default_factory=time.monotonic)

    def started(self, name: str) -> None:
        self.running[name] = time.monotonic()

    def ended(self, report: Report) -> None:
        """Count a report."""
        self.running.pop(report.key, None)
        ended = {report.key, *report.beside} if report.outcome == "done" else set()
        self.finished_here += len(ended - self.brought)
        self.done += len(ended - self.brought)
        self.brought |= ended
        self.failed += report.outcome == "failed"
        self.elsewhere += report.outcome == "busy"

    def left(self) -> str:
        """Time left, from the pace so far."""
        if not self.finished_here:
            return "time left: unknown yet"
        pace = (time.monotonic() - self.begun) / self.finished_here
        return f"{span(pace * (self.total - self.done - self.failed - self.elsewhere))} left"

    def __rich__(self) -> str:
        waiting = self.total - self.done - self.failed - self.elsewhere - len(self.running)
        counts = f"{self.done} done, {len(self.running)} running, {self.failed} failed, {waiting} waiting"
        if self.elsewhere:
            counts += f", {self.elsewhere} elsewhere"
        now = [f"  {name}  {span(time.monotonic() - since)}" for name, since in dict(self.running).items()]
        return "\n".join([f"{counts}, {self.left()}", *now])


Executor = Callable[[Sequence[Job], Progress], Generator[Report]]
"""Carries jobs out in any order, telling the progress which are under way; yields a report of each."""


class WorkerSlot(Protocol):
    """Where one job at a time is carried out."""

    def do(self, job: Job) -> Report:
        """Have a job attempted.

        Raises:
            DiedError: what attempted it came to an end without an answer.
        """

    def interrupt(self) -> None:
        """Have the job that is under way stopped; called from another thread."""

    def close(self) -> None:
        """Give back what the room holds."""


def run_on_slots(rooms: Sequence[WorkerSlot], jobs: Sequence[Job], progress: Progress) -> Generator[Report]:
    """Carry jobs out, each in the next room that is free; one whose room dies at it is tried once more.

    An exception of the caller's, Ctrl-C for one, interrupts the rooms.
    """
    idle: queue.SimpleQueue[WorkerSlot] = queue.SimpleQueue()
    for room in rooms:
        idle.put(room)

    def do(job: Job) -> Report:
        room = idle.get()
        progress.started(job.key)
        try:
            return with_retry(job, room.do)
        finally:
            idle.put(room)

    with ThreadPoolExecutor(max(1, len(rooms))) as pool:
        futures = [pool.submit(do, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for room in rooms:
                room.interrupt()
            raise
        finally:
            for room in rooms:
                room.close()


class Worker:
    """A process that attempts jobs, started when it first gets one and again when it has died."""

    def __init__(self, number: int, workers: int) -> None:
        self.number, self.workers = number, workers
        self.process: subprocess.Popen[str] | None = None
        self.stopping = False

    def start(self, log: Path) -> "subprocess.Popen[str]":
        """The process, in a session of its own: Ctrl-C reaches the sweep alone, which passes it on."""
        with log.open("a", encoding="utf-8") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "hyperadapters.sweeps.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, env=self.environment(), start_new_session=True,
            )  # fmt: skip

    def environment(self) -> dict[str, str]:
        """The process's share of the processors, and one of the GPUs that are to be seen."""
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        found = {"OMP_NUM_THREADS": str(threads), **os.environ, "TOKENIZERS_PARALLELISM": "false"}
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
        return found | ({"CUDA_VISIBLE_DEVICES": devices[self.number % len(devices)]} if len(devices) > 1 else {})

    def do(self, job: Job) -> Report:
        """Have a job attempted by the process.

        Raises:
            DiedError: the process came to an end at it.
        """
        log = Path(job.folder) / f"worker-{self.number}.log"
        if self.process is None and not self.stopping:
            self.process = self.start(log)
        if self.process is None or self.stopping:  # Ctrl-C while it started found nothing to be passed on to
            self.end()
            return Report(job.key, "stopped")
        answer = self.ask(self.process, job)
        if answer:
            return Report(**json.loads(answer))
        code = self.end()
        if self.stopping:
            return Report(job.key, "stopped")
        raise DiedError(f"its process ended with {code} (a negative number is a signal; -9: killed). See {log}")

    @staticmethod
    def ask(process: "subprocess.Popen[str]", job: Job) -> str:
        """The answer's line, empty if the process has died."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(asdict(job)) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return ""
        return process.stdout.readline()

    def interrupt(self) -> None:
        """Pass Ctrl-C on."""
        self.stopping = True
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Let the process end."""
        self.end()

    def end(self) -> int:
        """Let the process end; its exit code."""
        process, self.process = self.process, None
        if process is None or process.stdin is None or process.stdout is None:
            return 0
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        code = process.wait()
        process.stdout.close()
        return code


def on_this_machine(processes: int) -> Executor:
    """Jobs in so many processes of this machine; several GPUs are dealt out in turn."""

    def engine(jobs: Sequence[Job], progress: Progress) -> Generator[Report]:
        count = min(processes, len(jobs))
        yield from run_on_slots([Worker(number, processes) for number in range(count)], jobs, progress)

    return engine
