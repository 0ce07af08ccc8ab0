"""Processes beside a benchmark that measure a model of their own when they are asked to, one line of JSON at a time."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


class WorkerError(RuntimeError):
    """A worker's process ended; its own error stands on stderr."""


class Worker:
    """A script in a process of its own: gets a setting, tells its versions, then answers requests.

    Args:
        script: its name in this folder.
        setting: the first line it reads.
        python: the interpreter; None for this one.
        packages: a folder that is searched before all others.
    """

    def __init__(
        self, script: str, setting: Mapping[str, Any], *, python: Path | None = None, packages: Path | None = None
    ) -> None:
        inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        folders = [*([packages] if packages else []), FOLDER.parent / "src", FOLDER, *inherited]
        self.script = script
        self.process = subprocess.Popen(
            [python or sys.executable, FOLDER / script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        )
        self.say(setting)

    def say(self, question: Any) -> None:
        """Write one line to the worker."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """Return its next line.

        Raises:
            WorkerError: it has ended.
        """
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            raise WorkerError(f"the process of {self.script} ended; its error stands above.")
        return json.loads(answer)

    def ask(self, question: Any) -> Any:
        """One line there, one line back."""
        self.say(question)
        return self.hear()

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()


class There:
    """A gauge of a model in a worker's process."""

    def __init__(self, worker: Worker, name: str) -> None:
        self.worker, self.name = worker, name
        self.known: dict[str, Any] | None = None

    def counts(self) -> dict[str, Any]:
        """Return the worker's counts; asked for once."""
        if self.known is None:
            self.known = self.worker.ask(["counts", self.name])
        return self.known

    def seconds(self) -> float:
        return float(self.worker.ask(["seconds", self.name]))


def counted(gauges: Mapping[str, There], timeout: float) -> tuple[dict[str, There], dict[str, str]]:
    """Let workers make their counts at the same time; return those done in time, and why each other is not.

    Args:
        gauges: by name, each of a worker of its own, which has not told its versions yet.
        timeout: seconds, after which workers that are not done are ended; may be infinite.
    """

    def prepared(gauge: There) -> None:
        gauge.worker.hear()
        gauge.counts()

    with ThreadPoolExecutor(len(gauges) or 1) as threads:
        futures = {name: threads.submit(prepared, gauge) for name, gauge in gauges.items()}
        wait(futures.values(), timeout=None if math.isinf(timeout) else max(0.0, timeout))
        late = [name for name, future in futures.items() if not future.done()]
        for name in late:
            gauges[name].worker.end()
    failed = {name: str(future.exception()) for name, future in futures.items() if future.exception()}
    failed |= dict.fromkeys(late, f"not compiled within {timeout:.0f} s")
    return {name: gauge for name, gauge in gauges.items() if name not in failed}, failed
