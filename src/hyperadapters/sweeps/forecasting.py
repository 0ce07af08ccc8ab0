"""What a sweep will cost, before it starts: runs, steps, tokens, and hours from finished runs or from timed steps."""

import statistics
import time
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, expand_path
from hyperadapters.delta import method_to_json
from hyperadapters.runs import RESULT, Experiment, Result, label_of, read_result, task_name
from hyperadapters.sweeps.jobs import _Job, _settled
from hyperadapters.sweeps.keys import _keyed
from hyperadapters.sweeps.sampling import _is_local, _Pace, _Sample, _share_of_threads, _time_steps
from hyperadapters.training import Schedule

_TIMED_SECONDS = 10.0
"""Seconds in which methods are timed; those that are left take the median of the others on their backbone."""


@dataclass(frozen=True)
class _TaskCost:
    """What the runs of a task cost."""

    task: str
    runs: int
    steps: int
    tokens: int
    """Source and target tokens that are trained on."""
    seconds: float | None
    """Of training and evaluations; None where nothing tells."""


@dataclass(frozen=True)
class Forecast:
    """What is left to do of a sweep."""

    done: int
    failed: int
    """Runs that failed for good or left a damaged result, which the sweep passes over."""
    costs: list[_TaskCost]
    """By task."""
    unknown: dict[str, str]
    """Task -> why its rows could not be counted; its runs are in no cost."""
    basis: list[str]
    """What the estimates come from, in words."""


def forecast(experiments: Sequence[Experiment], folder: Path, *, jobs: int = 1, retry: bool = False) -> Forecast:
    """Count what a sweep would do in a folder, and estimate how long it takes on this machine.

    Seconds of training and evaluations come from finished runs of the same method and backbone in the folder, else from
    steps and answers that are timed here, if the backbone's weights are on this machine. Loading is not in them.

    Args:
        experiments: as `sweep` takes them.
        folder: the sweep's.
        jobs: processes that share the machine; seconds are those of one of them.
        retry: count what failed for good as still to do.
    """
    folder = expand_path(folder)
    planned = _keyed(experiments)
    reports = [_settled(_Job(key, e.to_json(), str(folder), keep=False)) for key, e in planned.items()]
    outcomes = {report.key: report.outcome for report in reports if report}
    if retry:
        outcomes = {key: outcome for key, outcome in outcomes.items() if (folder / key / RESULT).exists()}
    estimator, runs, unknown = _Estimator(folder), defaultdict[str, list[_TaskCost]](list), {}
    with _share_of_threads(jobs):
        for key, experiment in planned.items():
            task = task_name(experiment.task)
            try:
                runs[task] += [] if key in outcomes else [estimator.cost(experiment)]
            except InputError as error:
                unknown[task] = str(error)
    costs = [_total(task, found) for task, found in runs.items() if found]
    done = list(outcomes.values()).count("done")
    return Forecast(done, len(outcomes) - done, costs, unknown, estimator.basis())


def _total(task: str, costs: Sequence[_TaskCost]) -> _TaskCost:
    """Return the sum of the costs of a task's runs."""
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    steps, tokens = sum(cost.steps for cost in costs), sum(cost.tokens for cost in costs)
    return _TaskCost(task, len(costs), steps, tokens, sum(seconds) if len(seconds) == len(costs) else None)


def _answered_tokens(sample: _Sample, schedule: Schedule) -> float:
    """Return the tokens of all rows that a run answers: validation each time and at the end, the test rows once.

    A run that is trained alone and without a break knows the scores of its best weights, and has one validation less.
    """
    return (schedule.evaluations + 1) * sample.tokens("validation") + sample.tokens("test")


class _Estimator:
    """Estimates runs one by one; what is read or timed for one serves the others that are alike."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.finished = folder, list(_finished_results(folder))
        self.samples: dict[Any, _Sample] = {}
        self.timed: dict[Any, _Pace] = {}
        self.seconds = 0.0
        self.sources: dict[str, dict[str, None]] = defaultdict(dict)

    def cost(self, experiment: Experiment) -> _TaskCost:
        """Return what one run costs.

        Raises:
            InputError: its rows are not at hand, or its method does not fit.
        """
        what = (experiment.task, experiment.text, experiment.backbone)
        sample = self.samples[what] = self.samples.get(what) or _Sample(experiment)
        schedule = Schedule.of(experiment.training, sample.rows["train"], sample.rows["validation"])
        tokens, pace = round(schedule.epochs * sample.tokens("train")), self._pace(experiment, sample)
        seconds = pace and pace[0] * tokens + pace[1] * _answered_tokens(sample, schedule)
        return _TaskCost(task_name(experiment.task), 1, schedule.total, tokens, seconds)

    def basis(self) -> list[str]:
        """Return what the estimates come from, in words."""
        return [f"{source}: {', '.join(runs)}" for source, runs in self.sources.items()]

    def _pace(self, experiment: Experiment, sample: _Sample) -> _Pace | None:
        backbone, run = experiment.backbone, f"{experiment.backbone} with {label_of(experiment.method)}"
        own = {"backbone": backbone, "method": method_to_json(experiment.method)}
        same = [r for r in self.finished if r.tokens and {name: r.experiment[name] for name in own} == own]
        if same:
            self.sources[f"hours from finished runs in {self.folder}"][run] = None
            return statistics.median(r.seconds / r.tokens for r in same), 0.0
        if not _is_local(backbone):
            self.sources["no hours, and tokens by the embedded tokenizer (the backbone is not here)"][run] = None
            return None
        ignored = {
            "lr": 1.0,
            "seed": 0,
            "epochs": 1,
            "steps": None,
            "min_steps": 1,
            "warmup_steps": 0,
            "evaluate_steps": None,
        }
        what = (backbone, run, replace(experiment.training, **ignored), experiment.start)  # type: ignore[arg-type]
        others = [pace for (place, *_), pace in self.timed.items() if place == backbone]
        if what not in self.timed and others and self.seconds > _TIMED_SECONDS:
            self.sources["hours from the median of the timed methods"][run] = None
            training, answering = zip(*others, strict=True)
            return statistics.median(training), statistics.median(answering)
        if what not in self.timed:
            start = time.monotonic()
            self.timed[what] = _time_steps(experiment, sample.data)
            self.seconds += time.monotonic() - start
        self.sources["hours from steps and answers timed here"][run] = None
        return self.timed[what]


def _finished_results(folder: Path) -> Generator[Result]:
    """Yield the results in a sweep's folder that can be read."""
    for path in folder.glob(f"*/{RESULT}"):
        with suppress(InputError):
            yield read_result(path.parent)
