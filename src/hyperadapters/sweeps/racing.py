"""Races: of experiments that differ in one setting, the better half goes on at each stop, and the winner to its end.

Successive halving (Jamieson and Talwalkar, arXiv:1502.07943): all train a tenth of their steps, the better half of them
to a fifth, the better half of those to two fifths; the winner is trained to the end. A run that goes on continues from
its checkpoint, so the winner is the run that it would have been without the race: to the bit, unless runs are packed.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from hyperadapters._utils import InputError, console, expand_path, write_json
from hyperadapters.runs import Experiment, identity_of, read_result, standing_before, standing_of
from hyperadapters.sweeps.executors import Executor
from hyperadapters.sweeps.paths import _setting_at, _without_paths
from hyperadapters.sweeps.sweeping import SweepResult, _Plan
from hyperadapters.training import Standing

_LAST_STOP = 0.4
"""The share of its steps after which a race's last two runs are compared; the stops before it are halves of it."""

_RACE = "race.json"


@dataclass(frozen=True)
class Stop:
    """What was found where the runs of a race were compared."""

    share: float
    """Of their steps."""
    scores: dict[str, float]
    """By the setting that is raced, as text: the mean validation score over seeds, the best so far of each run."""
    kept: tuple[str, ...]
    """The settings that went on."""


@dataclass(frozen=True)
class Race:
    """One race: what its experiments have in common, and who won."""

    experiment: Experiment
    """The winner, with the lowest seed."""
    winner: str
    """Its setting, as text."""
    stops: tuple[Stop, ...]
    steps: int
    """Updates that were made in all."""
    grid_steps: int
    """Updates that all experiments would have taken."""


@dataclass(frozen=True)
class RaceResult:
    """What came of races."""

    races: tuple[Race, ...]
    swept: SweepResult
    """The results of the winners, and what failed."""


def race(
    experiments: Sequence[Experiment],
    folder: str | Path,
    *,
    over: str = "training.lr",
    executor: Executor | None = None,
    pack: int = 0,
    keep: bool = False,
    retry: bool = False,
    quiet: bool = False,
) -> RaceResult:
    """Race experiments that differ in one setting, by their validation scores, and run the winners to their ends.

    Experiments that differ in something else are raced apart; those that differ in the seed alone stay together, and
    the mean of their scores counts. The test split is scored for the winners alone. Killed at any moment and
    started again, a race goes on where it was.

    Args:
        experiments: those to race.
        folder: where the runs and `race.json` go; as for `sweep`.
        over: the setting that is raced.
        executor: as for `sweep`.
        pack: as for `sweep`.
        keep: keep the winners' adapters, not the results alone.
        retry: as for `sweep`.
        quiet: show nothing.

    Raises:
        InputError: what `sweep` raises; or every run of a race failed.
    """
    how: dict[str, Any] = {"executor": executor, "pack": pack, "keep": keep, "retry": retry, "quiet": quiet}
    plan = _Plan(experiments, expand_path(folder), **how)
    races = [_Running(plan, found, over) for found in _groups(plan.planned, over).values()]
    for share in sorted({share for one in races for share in one.shares}):
        at_stop = [one for one in races if share in one.shares]
        _check_alone(plan.run([key for one in at_stop for key in one.in_race()], until=share))
        for one in at_stop:
            one.halve(share)
            if not quiet:
                console.print(one.describe())
    swept = plan.run([key for one in races for key in one.in_race()])
    _check_alone(swept)
    ended = tuple(one.end() for one in races)
    write_json(
        plan.folder / _RACE, {"races": [{**asdict(one), "experiment": one.experiment.to_json()} for one in ended]}
    )
    return RaceResult(ended, swept)


def _check_alone(swept: SweepResult) -> None:
    """Raise InputError if another process has one of the runs: a race compares all of them."""
    if swept.elsewhere:
        raise InputError(f"another process runs {swept.elsewhere[0]}: wait for it, then start the race again.")


def _groups(experiments: Mapping[str, Experiment], over: str) -> dict[str, dict[str, Experiment]]:
    """Return experiments by what they have in common but for the seed and the setting that is raced."""
    groups: dict[str, dict[str, Experiment]] = defaultdict(dict)
    for key, experiment in experiments.items():
        common = _without_paths(identity_of(experiment), (over, "training.seed"))
        groups[str(sorted(common.items()))][key] = experiment
    return groups


class _Running:
    """A race under way."""

    def __init__(self, plan: _Plan, experiments: Mapping[str, Experiment], over: str) -> None:
        self.plan, self.experiments = plan, experiments
        self.left: dict[str, list[str]] = defaultdict(list)
        """Keys of the runs of each setting that is still in the race."""
        for key, experiment in experiments.items():
            self.left[f"{_setting_at(experiment.to_json(), over)}"].append(key)
        self.name = f"{over} of {next(iter(experiments))}"
        halvings = math.ceil(math.log2(len(self.left)))
        self.shares = [_LAST_STOP / 2**number for number in reversed(range(halvings))]
        """Shares of steps after which the runs are compared."""
        self.stops: list[Stop] = []
        self._made: dict[str, tuple[int, int]] = {}

    def in_race(self) -> list[str]:
        """Return the keys of the runs that are in the race."""
        return [key for keys in self.left.values() for key in keys]

    def halve(self, share: float) -> None:
        """Compare the runs after a share of their steps, and let the better half go on.

        Raises:
            InputError: all of them failed.
        """
        standings = {key: self._standing(key, share) for key in self.in_race()}
        whole = {name: [s for key in keys if (s := standings[key])] for name, keys in self.left.items()}
        ranked = {name: found for name, found in whole.items() if len(found) == len(self.left[name])}
        if not ranked:
            reasons = "; ".join(dict.fromkeys(self.plan.failures(self.in_race()).values()))
            raise InputError(f"every run of the race over {self.name} failed: {reasons}")

        def rank(name: str) -> tuple[float, float]:
            return mean(s.score for s in ranked[name]), -mean(s.loss for s in ranked[name])

        order = sorted(ranked, key=rank, reverse=True)
        kept = order[: math.ceil(len(self.left) / 2)]
        scores = {name: rank(name)[0] for name in ranked}
        self.stops.append(Stop(share, scores, tuple(kept)))
        self.left = {name: self.left[name] for name in kept}

    def _standing(self, key: str, share: float) -> Standing | None:
        """Return how a run stands, or stood if it has ended. None: it failed."""
        found = standing_of(self.plan.folder / key, share)
        if found is None and self.plan.has_result(key):
            found = standing_before(read_result(self.plan.folder / key), share)
        if found:
            self._made[key] = found.step, found.total
        return found

    def describe(self) -> str:
        """Return a line that says how the race stands."""
        stop = self.stops[-1]
        scores = ", ".join(f"{name} {score:.4g}" for name, score in stop.scores.items())
        return f"race over {self.name} at {100 * stop.share:.0f} % of the steps: {scores}; kept {', '.join(stop.kept)}"

    def end(self) -> Race:
        """Return what came of the race, once the winner has ended."""
        (winner, keys), *_ = self.left.items()
        key = min(keys, key=lambda key: self.experiments[key].training.seed)
        steps = {key: step for key, (step, _) in self._made.items()}
        steps |= {key: read_result(self.plan.folder / key).steps for key in keys if self.plan.has_result(key)}
        total = max((total for _, total in self._made.values()), default=max(steps.values(), default=0))
        experiment = self.experiments[key]
        return Race(experiment, winner, tuple(self.stops), sum(steps.values()), total * len(self.experiments))
