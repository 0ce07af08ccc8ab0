"""Many experiments: each in a folder of its own, named after what it is; what is done is never done again."""

import contextlib
import hashlib
import importlib.util
import json
import os
import queue
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.live import Live

from hyperadapters import files
from hyperadapters.attempt import ATTEMPTS, Job, Report, failures, record_failure
from hyperadapters.errors import InputError
from hyperadapters.experiment import Experiment, MixtureTask, NamedTask, method_name, task_name, with_changes
from hyperadapters.measure import parameters_of
from hyperadapters.methods.method import method_to_json
from hyperadapters.progress import console, span
from hyperadapters.run import EXPERIMENT, RESULT, Result, read_result, run

SWEEP = "sweep.json"


def run_in_turn(
    experiments: Mapping[str, Experiment], folder: Path, *, resume: bool = False, quiet: bool = False
) -> list[Result]:
    """Run experiments one after the other in this process, showing each one's training, each in `folder/name`.

    With `resume`, finished ones are read from their files and the one that was interrupted goes on.

    Raises:
        InputError: the folder holds something else, or one of the experiments is wrong.
    """
    files.check_output(folder, resume=resume, marker=SWEEP)
    check_methods(experiments.values())
    files.make_output(folder)
    files.write_json(folder / SWEEP, {name: experiment.to_json() for name, experiment in experiments.items()})
    results = []
    for number, (name, experiment) in enumerate(experiments.items(), 1):
        place = folder / name
        done = (place / RESULT).exists()
        if not quiet:
            console.print(f"[{number}/{len(experiments)}] {name}{' (done)' if done else ''}", markup=False)
        results.append(run(experiment, place, resume=resume and (place / EXPERIMENT).exists(), quiet=quiet))
    return results


def check_methods(experiments: Iterable[Experiment]) -> None:
    """Refuse a method that does not fit its backbone before any run."""
    different = {(e.backbone, json.dumps(method_to_json(e.method), sort_keys=True)): e for e in experiments}
    for experiment in different.values():
        parameters_of(experiment.backbone, experiment.method)


# -- which experiments ---------------------------------------------------------------------------------------------


def load_experiments(path: Path) -> list[Experiment]:
    """The list that a Python file's `experiments()` returns. The file is run: it is the user's own program.

    Raises:
        InputError: there is no such file or function, or it returns something else.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. A sweep is a Python file with a function experiments().")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    if spec.loader is None:
        raise InputError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))  # so that it can import its neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    if not callable(getattr(module, "experiments", None)):
        raise InputError(f"{path} has no function experiments() that returns a list of Experiment.")
    found = module.experiments()
    if not isinstance(found, list) or not all(isinstance(item, Experiment) for item in found):
        raise InputError(f"{path}: experiments() must return a list of Experiment.")
    return found


def identity(experiment: Experiment) -> dict[str, Any]:
    """What makes an experiment itself: all of it but where its files lie and how often checkpoints are written."""
    values = experiment.to_json()
    if "start" in values:
        values["start"] = {key: value for key, value in values["start"].items() if key != "adapter"}
    values["task"] = {key: value for key, value in values["task"].items() if key != "data"}
    values["training"] = {key: value for key, value in values["training"].items() if key != "checkpoint_seconds"}
    return values


def key(experiment: Experiment) -> str:
    """A name for an experiment that no other has: task, method, and a hash of its identity."""
    text = json.dumps(identity(experiment), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return re.sub(r"[^\w.+-]+", "-", f"{task_name(experiment.task)}_{method_name(experiment.method)}_{digest}")


def chosen(experiments: Sequence[Experiment], only: Mapping[str, str]) -> list[Experiment]:
    """The experiments whose settings are as asked: `method`, `task`, `backbone` or a path such as `training.lr`.

    Values are compared as text or numbers; commas separate alternatives.

    Raises:
        InputError: there is no such setting in any of them, or nothing is left.
    """
    left = list(experiments)
    for path, wanted in only.items():
        values = [value_at(experiment, path) for experiment in left]
        if left and all(value is None for value in values):
            raise InputError(f"--only {path}: no experiment has that setting. Try method, task, backbone, training.lr.")
        left = [e for e, value in zip(left, values, strict=True) if any(same(value, w) for w in wanted.split(","))]
        if not left:
            found = ", ".join(sorted({str(value) for value in values if value is not None}))
            raise InputError(f"--only {path}={wanted}: no experiment is left. There are: {found}.")
    return left


def overridden(
    experiments: Sequence[Experiment], *, backbone: str = "", data: str = "", changes: Mapping[str, str]
) -> list[Experiment]:
    """The experiments with a backbone, a data folder and `--set` changes that hold for all; empty ones change nothing.

    A change of the method is made where the method has that field.

    Raises:
        InputError: a wrong setting, or a method's field that none of them has.
    """
    for path in changes:
        section, _, name = path.partition(".")
        if section == "method" and not any(hasattr(e.method, name) for e in experiments):
            raise InputError(f"--set {path}: none of the methods has that field.")
    found = []
    for experiment in experiments:
        fitting = {p: v for p, v in changes.items() if not p.startswith("method.") or hasattr(experiment.method, p[7:])}
        task = experiment.task
        if data and isinstance(task, NamedTask | MixtureTask):
            task = replace(task, data=data)
        changed = replace(experiment, backbone=backbone or experiment.backbone, task=task)
        found.append(with_changes(changed, fitting))
    return found


def value_at(experiment: Experiment, path: str) -> Any:
    """A setting by its path; `method` and `task` are their names."""
    if path in ("method", "task"):
        return method_name(experiment.method) if path == "method" else task_name(experiment.task)
    value: Any = experiment.to_json()
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def same(value: Any, wanted: str) -> bool:
    """Whether a setting is what the text says: 3e-3 is 0.003."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(wanted) == float(value)
    return str(value).lower() == wanted.strip().lower()


# -- engines: what carries jobs out --------------------------------------------------------------------------------

Engine = Callable[[Sequence[Job], "Progress"], Generator[Report]]
"""Carries jobs out in any order, telling the progress which are under way; yields a report of each."""


class Worker:
    """A process that attempts jobs, started when it first gets one and again when it has died."""

    def __init__(self, number: int, workers: int) -> None:
        self.number, self.workers = number, workers
        self.process: subprocess.Popen[str] | None = None
        self.stopping = False

    def start(self, log: Path) -> "subprocess.Popen[str]":
        """The process, in a session of its own: Ctrl-C reaches the sweep alone, which passes it on."""
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ, "TOKENIZERS_PARALLELISM": "false"}
        devices = torch.cuda.device_count()
        if devices > 1 and "CUDA_VISIBLE_DEVICES" not in os.environ:
            environment["CUDA_VISIBLE_DEVICES"] = str(self.number % devices)
        with log.open("a", encoding="utf-8") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "hyperadapters.attempt"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, env=environment, start_new_session=True,
            )  # fmt: skip

    def do(self, job: Job) -> Report:
        """Have a job attempted. Where the process dies at it, that is a failure, and it is tried once more."""
        log = Path(job.folder) / f"worker-{self.number}.log"
        while True:
            self.process = self.process or self.start(log)
            answer = self.ask(self.process, job)
            if answer:
                return Report(**json.loads(answer))
            code = self.close()
            if self.stopping:
                return Report(job.key, "stopped")
            record_failure(job, f"its process ended with {code} (a negative number is a signal; -9: killed). See {log}")
            if len(failures(job)) >= ATTEMPTS:
                return Report(job.key, "failed", failures(job)[-1])

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

    def close(self) -> int:
        """Let the process end; its exit code."""
        process, self.process = self.process, None
        if process is None or process.stdin is None or process.stdout is None:
            return 0
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        code = process.wait()
        process.stdout.close()
        return code


def on_this_machine(processes: int) -> Engine:
    """Jobs in so many processes of this machine; several GPUs are dealt out in turn."""

    def engine(jobs: Sequence[Job], progress: "Progress") -> Generator[Report]:
        workers = [Worker(number, processes) for number in range(min(processes, len(jobs)))]
        idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in workers:
            idle.put(worker)

        def do(job: Job) -> Report:
            worker = idle.get()
            progress.started(job.key)
            try:
                return worker.do(job)
            finally:
                idle.put(worker)

        with ThreadPoolExecutor(max(1, len(workers))) as pool:
            futures = [pool.submit(do, job) for job in jobs]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in workers:
                    worker.interrupt()
                raise
            finally:
                for worker in workers:
                    worker.close()

    return engine


# -- the sweep -----------------------------------------------------------------------------------------------------


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
    begun: float = field(default_factory=time.monotonic)

    def started(self, name: str) -> None:
        self.running[name] = time.monotonic()

    def ended(self, report: Report) -> None:
        """Count a report."""
        self.running.pop(report.key, None)
        self.finished_here += report.outcome == "done"
        self.done += report.outcome == "done"
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


@dataclass(frozen=True)
class Swept:
    """What a sweep came to."""

    results: dict[str, Result]
    """By key, in the order of the experiments."""
    failed: dict[str, str]
    """Key -> why."""
    elsewhere: tuple[str, ...]
    """Keys of runs that another process is at."""


def sweep(
    experiments: Sequence[Experiment],
    folder: str | Path,
    *,
    engine: Engine | None = None,
    retry: bool = False,
    keep: bool = False,
    quiet: bool = False,
) -> Swept:
    """Run every experiment that has no result in `folder` yet; each ends as `folder/<key>/result.json`.

    It may be killed at any moment, itself or its processes, and started again: runs that were cut short go on from
    their checkpoint. Several sweeps may share a folder. A run that fails is tried once more, then its reasons stand in
    `folder/<key>.failed.json` and it is left alone.

    Args:
        experiments: in the order to run them; equal ones count once.
        folder: where results lie.
        engine: who carries them out; one process of this machine by default.
        retry: try again what failed for good.
        keep: keep the trained adapters too.
        quiet: show nothing.

    Raises:
        InputError: a method does not fit its backbone, or the folder cannot be written; nothing has run then.
    """
    folder = Path(folder)
    planned = {key(experiment): experiment for experiment in experiments}
    check_methods(planned.values())
    files.make_output(folder)
    jobs = [Job(name, e.to_json(), str(folder), keep) for name, e in planned.items()]
    if retry:
        for job in jobs:
            job.failures.unlink(missing_ok=True)
    todo = [job for job in jobs if not (job.place / RESULT).exists()]
    progress = Progress(len(jobs), done=len(jobs) - len(todo))
    busy = []
    reports = (engine or on_this_machine(1))(todo, progress)
    with showing(progress, quiet=quiet), contextlib.closing(reports):
        for report in reports:
            progress.ended(report)
            if report.outcome == "busy":
                busy.append(report.key)
            if not quiet:
                say(report, progress)
    results = {job.key: read_result(job.place) for job in jobs if (job.place / RESULT).exists()}
    failed = {job.key: failures(job)[-1] for job in jobs if job.key not in results and failures(job)}
    return Swept(results, failed, tuple(busy))


def in_words(swept: Swept, folder: Path) -> list[str]:
    """What a sweep came to, line by line."""
    lines = [f"failed: {name}: {reason}" for name, reason in swept.failed.items()]
    lines += [f"another process is at it: {name}" for name in swept.elsewhere]
    return [*lines, f"{len(swept.results)} done, {len(swept.failed)} failed; results: {folder}/*/{RESULT}"]


@contextlib.contextmanager
def showing(progress: Progress, *, quiet: bool) -> Iterator[None]:
    """The live view in a terminal; elsewhere the lines of `say` must do."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    with Live(progress, console=console, refresh_per_second=1, transient=True):
        yield


def say(report: Report, progress: Progress) -> None:
    """A line for each run that ended."""
    what = {"done": "done", "failed": f"failed: {report.reason}", "busy": "another process is at it"}
    line = f"[{progress.done + progress.failed}/{progress.total}] {report.key}  "
    console.print(f"{line}{what.get(report.outcome, report.outcome)}  ({progress.left()})", markup=False)
