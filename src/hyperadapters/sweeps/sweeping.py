"""Many experiments: each in a folder of its own, named after what it is; what is done is never done again."""

import contextlib
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.live import Live

from hyperadapters._utils import console, files
from hyperadapters.runs import RESULT, Experiment, Result, read_result
from hyperadapters.sweeps.executors import Executor, Progress, on_this_machine
from hyperadapters.sweeps.packing import packs
from hyperadapters.sweeps.plan import check_methods, key
from hyperadapters.sweeps.worker import Job, Report, failures, settled
from hyperadapters.training import check_trackers


@dataclass(frozen=True)
class SweepResult:
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
    engine: Executor | None = None,
    retry: bool = False,
    keep: bool = False,
    track: Sequence[str] = (),
    pack: int = 0,
    quiet: bool = False,
) -> SweepResult:
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
        track: trackers that follow each run.
        pack: train together what differs in rate, seed, order or training rows alone (`packed`), in so many packs at
            least, for as many processes; 0: each run by itself, as those that trackers follow always are.
        quiet: show nothing.

    Raises:
        InputError: a method does not fit its backbone, a tracker is not there, or the folder cannot be
            written; nothing has run then.
    """
    folder = Path(folder)
    planned = {key(experiment): experiment for experiment in experiments}
    check_trackers(track)
    check_methods(planned.values())
    files.make_output(folder)
    jobs = [Job(name, e.to_json(), str(folder), keep, track) for name, e in planned.items()]
    if retry:
        for job in jobs:
            job.failures.unlink(missing_ok=True)
    todo = [job for job in jobs if not (job.place / RESULT).exists()]
    progress = Progress(len(jobs), done=len(jobs) - len(todo))
    busy = []
    for some in in_packs(todo, planned, pack) if pack and not track else [todo]:
        reports = reported(some, engine or on_this_machine(1), progress)
        with showing(progress, quiet=quiet), contextlib.closing(reports):
            for report in reports:
                progress.ended(report)
                if report.outcome == "busy":
                    busy.append(report.key)
                if not quiet:
                    say(report, progress)
    over = [ended for job in jobs if (ended := settled(job))]
    results = {ended.key: read_result(folder / ended.key) for ended in over if ended.outcome == "done"}
    failed = {ended.key: ended.reason for ended in over if ended.outcome == "failed"}
    return SweepResult(results, failed, tuple(busy))


def reported(jobs: Sequence[Job], engine: Executor, progress: Progress) -> Generator[Report]:
    """A report of each job: at once where there is nothing left to do, else when the engine has carried it out."""
    over = {job.key: report for job in jobs if (report := settled(job))}
    yield from over.values()
    left = [job for job in jobs if job.key not in over]
    if left:
        yield from engine(left, progress)


def in_packs(jobs: Sequence[Job], experiments: Mapping[str, Experiment], least: int) -> tuple[list[Job], list[Job]]:
    """Jobs in two turns: those of the first bring others with them, which the second finds done, or runs by themselves.

    What has failed before is run by itself.
    """
    found = packs({job.key: experiments[job.key] for job in jobs if not failures(job)}, least)
    brought = {first: {key: experiments[key].to_json() for key in others} for first, *others in found}
    others = {key for beside in brought.values() for key in beside}
    first = [replace(job, beside=brought.get(job.key, {})) for job in jobs if job.key not in others]
    return first, [job for job in jobs if job.key in others]


def in_words(swept: SweepResult, folder: Path) -> list[str]:
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
    console.print(f"{line}{what.get(report.outcome, report.outcome)}  ({progress.left()})")
