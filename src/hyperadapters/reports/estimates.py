"""Scores with their uncertainty: means, standard deviations, 95 % intervals, averages over columns."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyperadapters._utils import metric_scale
from hyperadapters.reports.facts import _is_mixture, _tasks_by_prefix
from hyperadapters.runs import Result

_Column = tuple[str, str]
"""A task and one of its metrics."""

_Margin = tuple[float, float]
"""Distance from a score to the lower and to the upper end of its interval, in the score's unit, neither negative."""


@dataclass(frozen=True)
class _Estimate:
    """A score with its uncertainty: in percent, or of a metric that is no share in its own unit.

    The 95 % interval joins two sources of chance: the seeds (Student's t for the mean of n) and the rows of the test
    set (bootstrap). With one seed only the second is known, and the interval lacks what the seed would add.
    """

    scores: Mapping[int, float]
    """By seed."""
    bootstrap_margin: _Margin | None = None
    """From resampling the test rows; None if that was not done."""
    lowest: float = 0.0
    """The lowest possible score."""
    highest: float = 100.0
    """The highest possible score."""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.mean(self.scores.values())

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.scores)

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds; None for a single seed."""
        return statistics.stdev(self.scores.values()) if self.seeds > 1 else None

    @property
    def margin(self) -> _Margin | None:
        """The 95 % interval's margin, cut where scores end; None for a single seed without bootstrap."""
        margins = [self.bootstrap_margin] if self.bootstrap_margin else []
        if self.sd is not None:
            from scipy import stats  # noqa: PLC0415 (slow to import)

            seed_margin = float(stats.t.ppf(0.975, self.seeds - 1)) * self.sd / math.sqrt(self.seeds)
            margins.append((seed_margin, seed_margin))
        if not margins:
            return None
        below, above = (math.hypot(*ends) for ends in zip(*margins, strict=True))
        return max(min(below, self.mean - self.lowest), 0.0), max(min(above, self.highest - self.mean), 0.0)

    @property
    def low(self) -> float:
        """Lower end of the interval; the mean where there is none."""
        return self.mean - (self.margin or (0.0, 0.0))[0]

    @property
    def high(self) -> float:
        """Upper end of the interval; the mean where there is none."""
        return self.mean + (self.margin or (0.0, 0.0))[1]

    def __str__(self) -> str:
        spread = f" ± {self.sd:.2f}" if self.sd is not None else ""
        return f"{self.mean:.2f}{spread}"


def _intervals_overlap(first: _Estimate, second: _Estimate) -> bool | None:
    """Return whether two intervals overlap; None where one of the estimates has none."""
    if first.margin is None or second.margin is None:
        return None
    return first.low <= second.high and second.low <= first.high


def _average(columns: Mapping[_Column, _Estimate], *, per_task: bool = False) -> _Estimate | None:
    """Return the mean of several columns over the seeds that all of them have; None where there is no such seed.

    The interval takes the metrics of one task to move together and the rows of different tasks to be independent. A
    column whose test set is too large for the bootstrap adds nothing to it.

    Args:
        columns: one estimate for each metric, one column or more.
        per_task: give each task the same weight instead of each metric, as the papers do.
    """
    seeds = sorted(set.intersection(*(set(estimate.scores) for estimate in columns.values())))
    if not seeds:
        return None
    weights = _column_weights(list(columns), per_task=per_task)
    return _Estimate(
        {seed: sum(weights[c] * estimate.scores[seed] for c, estimate in columns.items()) for seed in seeds},
        _average_margin(columns, weights),
        sum(weights[c] * estimate.lowest for c, estimate in columns.items()),
        sum(weights[c] * estimate.highest for c, estimate in columns.items()),
    )


def _column_weights(columns: Sequence[_Column], *, per_task: bool) -> dict[_Column, float]:
    """Return each column's share of an average; the shares add up to 1."""
    metrics = {task: sum(other == task for other, _ in columns) for task, _ in columns}
    return {
        (task, metric): 1 / (len(metrics) * metrics[task] if per_task else len(columns)) for task, metric in columns
    }


def _average_margin(columns: Mapping[_Column, _Estimate], weights: Mapping[_Column, float]) -> _Margin | None:
    """Return a weighted average's bootstrap margin: summed within a task, joined as independent between tasks.

    None where a task has margins of some metrics and not of others: it is not for the size of its test set then.
    """
    known: dict[str, set[bool]] = defaultdict(set)
    for (task, _), estimate in columns.items():
        known[task].add(estimate.bootstrap_margin is not None)
    if any(len(both) > 1 for both in known.values()):
        return None
    by_task: dict[str, list[_Margin]] = defaultdict(list)
    for column, estimate in columns.items():
        if estimate.bootstrap_margin is not None:
            below, above = estimate.bootstrap_margin
            by_task[column[0]].append((weights[column] * below, weights[column] * above))
    if not by_task:
        return None
    sums = [[sum(ends) for ends in zip(*margins, strict=True)] for margins in by_task.values()]
    below, above = (math.hypot(*ends) for ends in zip(*sums, strict=True))
    return below, above


def _column_of(result: Result, name: str) -> _Column:
    """Return the task and metric behind the name of a result's metric; a mixture's are called `task.metric`."""
    if not _is_mixture(result):
        return result.task, name
    prefix, metric = name.rsplit(".", 1)
    return _tasks_by_prefix(result)[prefix], metric


def _scores_by_column(result: Result) -> dict[_Column, float]:
    """Return every metric of a result's reported split, shares in percent."""
    return {_column_of(result, name): metric_scale(name).factor * value for name, value in result.reported.items()}


def _estimate_columns(results: Sequence[Result], benchmark: str) -> dict[_Column, _Estimate]:
    """Return an estimate for each task and metric of a benchmark.

    Args:
        results: runs of one method in one setting, which differ in task or seed.
        benchmark: the part of the tasks' names before the slash.
    """
    scores: dict[_Column, dict[int, float]] = defaultdict(dict)
    margins: dict[_Column, list[_Margin]] = defaultdict(list)
    for result in results:
        by_column = _scores_by_column(result)
        for column, score in by_column.items():
            scores[column][result.experiment["training"]["seed"]] = score
        for name, (low, high) in result.intervals.items():
            column, factor = _column_of(result, name), metric_scale(name).factor
            score = by_column[column]
            margins[column].append((max(score - factor * low, 0.0), max(factor * high - score, 0.0)))
    return {
        column: _estimate(column[1], by_seed, margins[column])
        for column, by_seed in scores.items()
        if column[0].split("/")[0] == benchmark
    }


def _estimate(metric: str, by_seed: Mapping[int, float], margins: Sequence[_Margin]) -> _Estimate:
    """Return the estimate of one metric on one task.

    Args:
        metric: its name.
        by_seed: the scores of all seeds.
        margins: of the seeds whose test rows were resampled.
    """
    scale = metric_scale(metric)
    return _Estimate(by_seed, _mean_margin(margins), scale.factor * scale.low, scale.factor * scale.high)


def _mean_margin(margins: Sequence[_Margin]) -> _Margin | None:
    """Return the mean of several seeds' margins; None of none."""
    if not margins:
        return None
    return statistics.mean(below for below, _ in margins), statistics.mean(above for _, above in margins)
