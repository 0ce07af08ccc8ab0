"""From results to tables of estimates: means, standard deviations, intervals, and what they cannot tell apart."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from scipy import stats

from hyperadapters.methods import METHODS, method_from_json
from hyperadapters.methods.method import Method
from hyperadapters.published import PUBLISHED
from hyperadapters.run import Result
from hyperadapters.selection import select

Column = tuple[str, str]
"""A task and one of its metrics."""

Z = 1.96
"""Standard errors to either side of a 95 % interval."""


@dataclass(frozen=True)
class Estimate:
    """A score in percent, and how far it is known."""

    mean: float
    seeds: int
    sd: float | None = None
    """Over the seeds, where there are two or more."""
    half: float | None = None
    """Half of the 95 % interval; None where neither seeds nor the test set's rows tell."""

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + (self.half or 0.0)

    def __str__(self) -> str:
        spread = f" ± {self.sd:.2f}" if self.sd is not None else ""
        return f"{self.mean:.2f}{spread}"


def overlap(first: Estimate, second: Estimate) -> bool | None:
    """Whether two intervals overlap, so that the scores cannot be told apart; None where one has no interval."""
    if first.half is None or second.half is None:
        return None
    return first.low <= second.high and second.low <= first.high


def estimate(scores: Sequence[float], rows: float | None) -> Estimate:
    """The mean of some seeds' scores.

    Its 95 % interval joins two sources of chance: the seeds (Student's t for the mean of n) and the rows of the test
    set. With one seed only the second is known, and the interval is too narrow by what the seed would add.

    Args:
        scores: percent, one for each seed.
        rows: half of the test set's own interval, by bootstrap; None if unknown.
    """
    n = len(scores)
    sd = statistics.stdev(scores) if n > 1 else None
    of_seeds = None if sd is None else float(stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    known = [half for half in (of_seeds, rows) if half is not None]
    return Estimate(statistics.mean(scores), n, sd, math.hypot(*known) if known else None)


def average(columns: Mapping[Column, Estimate], *, per_task: bool) -> Estimate:
    """The mean over metric columns, as the papers report it, or over tasks.

    The interval takes a task's metrics to move together and tasks to be independent.
    """
    by_task: dict[str, list[Estimate]] = defaultdict(list)
    for (task, _), found in columns.items():
        by_task[task].append(found)
    weights = {task: 1.0 if per_task else float(len(found)) for task, found in by_task.items()}
    total = sum(weights.values())
    means = {task: statistics.mean(e.mean for e in found) for task, found in by_task.items()}
    halves = {task: [e.half for e in found if e.half is not None] for task, found in by_task.items()}
    known = all(len(halves[task]) == len(found) for task, found in by_task.items())
    half = math.hypot(*(weights[t] * statistics.mean(halves[t]) / total for t in by_task)) if known else None
    seeds = min(e.seeds for e in columns.values())
    return Estimate(sum(weights[t] * means[t] for t in by_task) / total, seeds, None, half)


# -- tables --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One row of a table: a method in one setting."""

    label: str
    trained: int
    percent: float
    bytes: int
    peak_memory: int
    columns: Mapping[Column, Estimate]
    chosen: str
    """The setting that validation chose, as JSON."""
    incomplete: tuple[str, ...]
    paper: Mapping[Column, float]
    """The same row in the paper, where there is one."""
    results: tuple[Result, ...]


@dataclass(frozen=True)
class ScoreTable:
    """One backbone, one benchmark, one number of training rows: a line for each method."""

    title: str
    benchmark: str
    backbone: str
    train_rows: int | None
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    def average(self, line: Line, *, per_task: bool = False) -> Estimate | None:
        """A line's average, if it has every column."""
        return average(line.columns, per_task=per_task) if set(line.columns) == set(self.columns) else None

    def paper_average(self, line: Line) -> float | None:
        """The paper's average over the same columns."""
        scores = [line.paper.get(column) for column in self.columns]
        return statistics.mean(s for s in scores if s is not None) if line.paper and None not in scores else None


def tables(results: Sequence[Result]) -> list[ScoreTable]:
    """Every table that these results make, the largest training sets first."""
    parts: dict[tuple[str, str, int | None], list[Result]] = defaultdict(list)
    for result in results:
        benchmark = result.task.split("/")[0]
        parts[benchmark, result.experiment["backbone"], result.experiment["text"]["train_rows"]].append(result)
    order = sorted(parts, key=lambda part: (part[0], part[1], -(part[2] or 10**9)))
    return [score_table(*part, parts[part]) for part in order]


def score_table(benchmark: str, backbone: str, train_rows: int | None, results: Sequence[Result]) -> ScoreTable:
    """The table of one part of the results, one rate for each line chosen on validation."""
    lines = []
    for choice in select(results):
        first = choice.results[0]
        label = label_of(method_from_json(first.experiment["method"]))
        columns = estimates(choice.results)
        whole = train_rows is None and not any(result.experiment["text"]["evaluation_rows"] for result in results)
        paper = PUBLISHED.get((backbone, benchmark), {}).get(label, {}) if whole else {}
        biggest = max(result.bytes for result in choice.results)
        memory = max(result.cost.peak_memory for result in choice.results)
        trained = max(choice.results, key=lambda result: result.trained)
        lines.append(
            Line(
                label,
                trained.trained,
                trained.percent,
                biggest,
                memory,
                columns,
                choice.setting,
                choice.incomplete,
                {column: score for column, score in paper.items() if column in columns},
                choice.results,
            )
        )
    every = tuple(sorted({column for line in lines for column in line.columns}))
    rows = f", {train_rows} training rows" if train_rows else ""
    lines.sort(key=lambda line: -line.trained)
    return ScoreTable(f"{benchmark} on {backbone}{rows}", benchmark, backbone, train_rows, every, tuple(lines))


def estimates(results: Sequence[Result]) -> dict[Column, Estimate]:
    """An estimate for each task and metric, over the seeds."""
    scores: dict[Column, list[float]] = defaultdict(list)
    halves: dict[Column, list[float]] = defaultdict(list)
    for result in results:
        for metric, value in result.metrics[result.split].items():
            scores[result.task, metric].append(100 * value)
            if metric in result.intervals:
                low, high = result.intervals[metric]
                halves[result.task, metric].append(50 * (high - low))
    return {c: estimate(found, statistics.mean(halves[c]) if halves.get(c) else None) for c, found in scores.items()}


def label_of(method: Method) -> str:
    """The nearest preset's name, and what differs from it."""
    same = [(name, preset) for name, preset in METHODS.items() if type(preset) is type(method)]
    if not same:
        return type(method).__name__

    def differing(preset: Method) -> list[str]:
        names = [field.name for field in fields(method)]  # type: ignore[arg-type]
        return [f"{n} = {getattr(method, n)}" for n in names if getattr(method, n) != getattr(preset, n)]

    name, preset = min(same, key=lambda pair: len(differing(pair[1])))
    changes = differing(preset)
    return f"{name} ({', '.join(changes)})" if changes else name


def told_apart(table: ScoreTable) -> list[str]:
    """In words, which averages cannot be told from the best one."""
    found = [(line.label, table.average(line)) for line in table.lines]
    known = [(label, average) for label, average in found if average is not None]
    if len(known) < 2:
        return []
    best, top = max(known, key=lambda pair: pair[1].mean)
    lines = []
    for label, average in known:
        if label == best:
            continue
        apart = overlap(top, average)
        difference = f"{best} {top.mean:.2f} and {label} {average.mean:.2f}"
        seeds = f"{min(top.seeds, average.seeds)} seed(s)"
        if apart is None:
            lines.append(f"{difference}: no interval is known with {seeds}, so nothing is said of the difference.")
        elif apart:
            lines.append(
                f"{difference} cannot be told apart with {seeds}: their 95 % intervals overlap "
                f"({top.low:.2f} to {top.high:.2f}, {average.low:.2f} to {average.high:.2f})."
            )
    return lines
