"""`sweep(experiments, folder)`: each experiment runs in a folder named by its key; what is done is not run again."""

import contextlib
import shutil
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.live import Live

from hyperadapters._utils import console, expand_path, make_output
from hyperadapters.runs import RESULT, Experiment, Result, check_sources, read_result
from hyperadapters.sweeps.executors import Executor
from hyperadapters.sweeps.in_turn import _check_methods
from hyperadapters.sweeps.jobs import _Job, _past_failures, _Report, _settled
from hyperadapters.sweeps.keys import _keyed
from hyperadapters.sweeps.packing import _packs
from hyperadapters.sweeps.processes import local_executor
from hyperadapters.sweeps.progress import _Progress
from hyperadapters.training import STATES, check_trackers


@dataclass(frozen=True)
class SweepResult:
    """The results of a sweep, and the runs that have none."""

    results: dict[str, Result]
    """By key (`experiment_key`), in the order of the experiments."""
    failed: dict[str, str]
    """Key -> why the run failed."""
    elsewhere: tuple[str, ...]
    """Keys of the runs that another process has."""


def sweep(
    experiments: Sequence[Experiment],
    folder: str | Path,
    *,
    executor: Executor | None = None,
    retry: bool = False,
    keep: bool = False,
    track: Sequence[str] = (),
    pack: int = 0,
    quiet: bool = False,
) -> SweepResult:
    """Run every experiment that has no result in `folder` yet; each ends as `folder/<key>/result.json`.

    A sweep or its processes may be killed at any moment; started again, unfinished runs go on from their checkpoints.
    Several sweeps may share a folder. A run that fails is retried once; after that `folder/<key>.failed.json` says why,
    and later sweeps pass it over. A run whose backbone or data cannot be read meanwhile fails for this sweep alone.

    Args:
        experiments: in the order to run them; equal ones are run once.
        folder: where the results go.
        executor: what carries the runs out, `local_executor(n)` or `ray_executor()`; None: one process of this machine.
        retry: run again what failed for good.
        keep: keep the trained adapters, not the results alone.
        track: names of the trackers that follow each run.
        pack: train in one pass the runs that differ only in rate, seed, order or training rows, divided into at least
            `pack` packs, one for each process; 0, or with trackers: each run by itself.
        quiet: show nothing.

    Raises:
        InputError: a backbone, a folder or a file is not there, or the Hub does not answer; a method does not fit its
            backbone; a tracker is not installed; or the folder cannot be written. Nothing has run then.
    """
    check_trackers(track)
    how: dict[str, Any] = {"executor": executor, "pack": pack, "keep": keep, "retry": retry, "track": track}
    return _Plan(experiments, expand_path(folder), **how, quiet=quiet).run()


class _Plan:
    """Experiments and what carries them out, wholly or in parts; arguments are those of `sweep`."""

    def __init__(
        self,
        experiments: Sequence[Experiment],
        folder: Path,
        *,
        executor: Executor | None,
        pack: int,
        keep: bool,
        retry: bool,
        track: Sequence[str] = (),
        quiet: bool,
    ) -> None:
        self.folder, self.planned, self.quiet = folder, _keyed(experiments), quiet
        self._jobs = [_Job(name, e.to_json(), str(folder), keep, track) for name, e in self.planned.items()]
        todo = [job for job in self._jobs if (retry and _past_failures(job)) or not _settled(job)]
        check_sources(self.planned[job.key] for job in todo)
        _check_methods(self.planned.values())
        make_output(folder)
        self._executor, self._pack = executor or local_executor(1), 0 if track else pack
        for job in self._jobs if retry else ():
            job.failure_file.unlink(missing_ok=True)

    def has_result(self, key: str) -> bool:
        """Return whether a run is done."""
        return (self.folder / key / RESULT).exists()

    def failures(self, keys: Sequence[str]) -> dict[str, str]:
        """Return why runs failed for good, by key."""
        over = [ended for job in self._jobs if job.key in keys and (ended := _settled(job))]
        return {ended.key: ended.reason for ended in over if ended.outcome == "failed"}

    def run(self, keys: Sequence[str] | None = None, *, until: float = 0.0) -> SweepResult:
        """Carry out the runs of some keys, or of all, to their ends or until a share of their steps."""
        jobs = [replace(job, until=until) for job in self._jobs if keys is None or job.key in keys]
        todo = [job for job in jobs if not self.has_result(job.key)]
        progress = _Progress(len(jobs), done=len(jobs) - len(todo))
        busy, failed = [], dict[str, str]()
        for turn in _split_turns(todo, self.planned, self._pack) if self._pack else [todo]:
            reports = _carry_out(turn, self._executor, progress)
            with _live_progress(progress, quiet=self.quiet), contextlib.closing(reports):
                for report in reports:
                    progress.ended(report)
                    if report.outcome == "busy":
                        busy.append(report.key)
                    elif report.outcome == "failed":
                        failed[report.key] = report.reason
                    if not self.quiet and report.outcome != "paused":
                        _print_report(report, progress)
        done = [job.key for job in jobs if self.has_result(job.key)]
        if all(self.has_result(job.key) for job in self._jobs):
            shutil.rmtree(self.folder / STATES, ignore_errors=True)
        failed |= self.failures([job.key for job in jobs])
        results = {key: read_result(self.folder / key) for key in done if key not in failed}
        return SweepResult(results, failed, tuple(busy))


def _carry_out(jobs: Sequence[_Job], executor: Executor, progress: _Progress) -> Generator[_Report]:
    """Yield a report of each job: first of those that are settled, then of the others as the executor ends them."""
    over = {job.key: report for job in jobs if (report := _settled(job))}
    yield from over.values()
    left = [job for job in jobs if job.key not in over]
    if left:
        yield from executor(left, progress)


def _split_turns(
    jobs: Sequence[_Job], experiments: Mapping[str, Experiment], least: int
) -> tuple[list[_Job], list[_Job]]:
    """Divide jobs into two turns: the first runs each pack as one job, the second what a pack has left undone.

    A run that failed before is in no pack.
    """
    found = _packs({job.key: experiments[job.key] for job in jobs if not _past_failures(job)}, least)
    rest_of = {leader: {key: experiments[key].to_json() for key in others} for leader, *others in found}
    later = {key for rest in rest_of.values() for key in rest}
    first = [replace(job, pack=rest_of.get(job.key, {})) for job in jobs if job.key not in later]
    return first, [job for job in jobs if job.key in later]


def describe_sweep(swept: SweepResult, folder: Path) -> list[str]:
    """Return lines that say what a sweep has done, what failed and why."""
    lines = [f"failed: {name}: {reason}" for name, reason in swept.failed.items()]
    lines += [f"another process runs it: {name}" for name in swept.elsewhere]
    return [*lines, f"{len(swept.results)} done, {len(swept.failed)} failed; results: {folder}/*/{RESULT}"]


@contextlib.contextmanager
def _live_progress(progress: _Progress, *, quiet: bool) -> Iterator[None]:
    """Show the progress live in a terminal; elsewhere `print_report` says what ended."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    with Live(progress, console=console, refresh_per_second=1, transient=True):
        yield


def _print_report(report: _Report, progress: _Progress) -> None:
    """Print a line about a run that ended."""
    what = {"done": "done", "failed": f"failed: {report.reason}", "busy": "another process runs it"}
    line = f"[{progress.done + progress.failed}/{progress.total}] {report.key}  "
    console.print(f"{line}{what.get(report.outcome, report.outcome)}  ({progress.left()})")
