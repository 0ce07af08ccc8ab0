"""Jobs in processes of this machine."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from hyperadapters.sweeps.executors import Executor, _run_on_slots
from hyperadapters.sweeps.jobs import _DiedError, _Job, _Report
from hyperadapters.sweeps.progress import _Progress


def local_executor(processes: int) -> Executor:
    """Return an executor that runs jobs in processes of this machine; several GPUs are assigned to them in turn.

    Args:
        processes: how many jobs run at a time; each process gets its share of the processors.
    """

    def carry_out(jobs: Sequence[_Job], progress: _Progress) -> Generator[_Report]:
        count = min(processes, len(jobs))
        yield from _run_on_slots([_WorkerProcess(number, processes) for number in range(count)], jobs, progress)

    return carry_out


class _WorkerProcess:
    """A process that attempts jobs, started when it first gets one and again when it has died."""

    def __init__(self, number: int, workers: int) -> None:
        self.number, self.workers = number, workers
        self.process: subprocess.Popen[str] | None = None
        self.stopping = False

    def _start(self, log: Path) -> "subprocess.Popen[str]":
        """Start the process in a session of its own: Ctrl-C reaches the sweep alone, which passes it on."""
        with log.open("a", encoding="utf-8") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "hyperadapters.sweeps.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, env=self._environment(), start_new_session=True,
            )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        """Return the process's environment: its share of the processors, and one of the visible GPUs."""
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        found = {"OMP_NUM_THREADS": str(threads), **os.environ, "TOKENIZERS_PARALLELISM": "false"}
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
        return found | ({"CUDA_VISIBLE_DEVICES": devices[self.number % len(devices)]} if len(devices) > 1 else {})

    def do(self, job: _Job) -> _Report:
        """Attempt a job in the process and return its report.

        Raises:
            DiedError: the process died.
        """
        log = Path(job.folder) / f"worker-{self.number}.log"
        if self.process is None and not self.stopping:
            self.process = self._start(log)
        if self.process is None or self.stopping:  # Ctrl-C while it started found nothing to be passed on to
            self._end()
            return _Report(job.key, "stopped")
        answer = self._ask(self.process, job)
        if answer:
            return _Report(**json.loads(answer))
        code = self._end()
        if self.stopping:
            return _Report(job.key, "stopped")
        raise _DiedError(f"its process ended with {code} (a negative number is a signal; -9: killed). See {log}")

    @staticmethod
    def _ask(process: "subprocess.Popen[str]", job: _Job) -> str:
        """Return the line that the process answers a job with; empty if it has died."""
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
        self._end()

    def _end(self) -> int:
        """Let the process end and return its exit code."""
        process, self.process = self.process, None
        if process is None or process.stdin is None or process.stdout is None:
            return 0
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        code = process.wait()
        process.stdout.close()
        return code
