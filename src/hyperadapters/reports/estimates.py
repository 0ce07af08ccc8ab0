"""From results to tables of estimates: means, standard deviations, intervals, and what they cannot tell apart."""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scipy import stats

from hyperadapters._utils import short_names
from hyperadapters.methods import method_from_json
from hyperadapters.papers import COLUMNS, PUBLISHED, PublishedScore
from hyperadapters.runs import SIZES, Result, add_to_label, named
from hyperadapters.sweeps import Choice, group_of, select
from hyperadapters.tasks import SIGNED

Column = tuple[str, str]
"""A task and one of its metrics."""


@dataclass(frozen=True)
class Estimate:
    """A score in percent, and how far it is known.

    Its 95 % interval joins two sources of chance: the seeds (Student's t for the mean of n) and the rows of the test
    set. With one seed only the second is known, and the interval is too narrow by what the seed would add.
    """

    scores: Mapping[int, float]
    """By seed."""
    rows: tuple[float, float] | None = None
    """How far the interval that the test rows leave, by bootstrap, reaches below and above; None if unknown."""
    least: float = 0.0
    """The lowest score there can be; the highest is 100."""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.mean(self.scores.values())

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.scores)

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds, where there are two or more."""
        return statistics.stdev(self.scores.values()) if self.seeds > 1 else None

    @property
    def reach(self) -> tuple[float, float] | None:
        """How far the 95 % interval reaches below and above, within what scores can be; None where nothing tells."""
        n, known = self.seeds, [self.rows] if self.rows else []
        if self.sd is not None:
            of_seeds = float(stats.t.ppf(0.975, n - 1)) * self.sd / math.sqrt(n)
            known.append((of_seeds, of_seeds))
        if not known:
            return None
        below, above = (math.hypot(*ends) for ends in zip(*known, strict=True))
        return max(min(below, self.mean - self.least), 0.0), max(min(above, 100 - self.mean), 0.0)

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - (self.reach or (0.0, 0.0))[0]

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + (self.reach or (0.0, 0.0))[1]

    def __str__(self) -> str:
        spread = f" ± {self.sd:.2f}" if self.sd is not None else ""
        return f"{self.mean:.2f}{spread}"


def overlap(first: Estimate, second: Estimate) -> bool | None:
    """Whether two intervals overlap, so that the scores cannot be told apart; None where one has no interval."""
    if first.reach is None or second.reach is None:
        return None
    return first.low <= second.high and second.low <= first.high


def average(columns: Mapping[Column, Estimate], *, per_task: bool = False) -> Estimate | None:
    """The mean over metric columns, as the papers report it, or over tasks; of the seeds that every column has.

    The interval takes the metrics of a task to move together and the rows of different tasks to be independent. A
    column whose test set is so large that no bootstrap was made adds nothing to it. None where no seed has every
    column.
    """
    seeds = sorted(set.intersection(*(set(found.scores) for found in columns.values())))
    if not seeds:
        return None
    metrics = {task: sum(other == task for other, _ in columns) for task, _ in columns}
    weights = {c: 1 / (len(metrics) * metrics[c[0]] if per_task else len(columns)) for c in columns}
    scores = {seed: sum(weights[c] * found.scores[seed] for c, found in columns.items()) for seed in seeds}
    reached: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for column, found in columns.items():
        if found.rows is not None:
            reached[column[0]].append((weights[column] * found.rows[0], weights[column] * found.rows[1]))
    of_tasks = [[sum(ends) for ends in zip(*pairs, strict=True)] for pairs in reached.values()]
    below, above = (math.hypot(*ends) for ends in zip(*of_tasks, strict=True)) if of_tasks else (0.0, 0.0)
    least = sum(weights[c] * found.least for c, found in columns.items())
    return Estimate(scores, (below, above) if of_tasks else None, least)


@dataclass(frozen=True)
class ScoreRow:
    """One row of a table: a method in one setting."""

    label: str
    family: str
    """The method without its size: lines of one family differ in size alone."""
    trained: int
    total: int
    tasks: int
    """How many tasks one model holds."""
    by_kind: Mapping[str, int]
    bytes: int
    peak_memory: int
    columns: Mapping[Column, Estimate]
    chosen: str
    """What validation chose, in words."""
    incomplete: tuple[str, ...]
    paper: PublishedScore | None
    """The same row in the paper, where there is one."""
    results: tuple[Result, ...]
    best_of: int = 0
    """Of how many sizes this line takes the best, task by task; 0: it is a size itself."""

    @property
    def percent(self) -> float:
        """Trained parameters a task, in percent of the backbone's."""
        return 100 * self.trained / self.total / self.tasks

    def copies(self, tasks: int) -> float:
        """Parameters for so many tasks in units of the backbone: 1 + tasks · (added, without norms) / backbone."""
        models = tasks / self.tasks
        if self.by_kind.get("backbone"):
            return models * self.by_kind["backbone"] / self.total
        return 1 + models * (self.trained - self.by_kind.get("norm", 0)) / self.total


@dataclass(frozen=True)
class ScoreTable:
    """One backbone and one benchmark: a line for each method."""

    benchmark: str
    backbone: str
    columns: tuple[Column, ...]
    lines: tuple[ScoreRow, ...]
    rows: Mapping[str, int | None] = field(default_factory=dict)
    """Training rows of each task; None: all there are."""

    @property
    def title(self) -> str:
        """What the table compares."""
        return f"{self.benchmark} on {self.backbone}"

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order of the columns."""
        return tuple(dict.fromkeys(task for task, _ in self.columns))

    @property
    def averaged(self) -> tuple[Column, ...]:
        """The columns that averages are over: those of half of the lines or more."""
        having = {column: sum(column in line.columns for line in self.lines) for column in self.columns}
        return tuple(column for column in self.columns if 2 * having[column] >= len(self.lines))

    def average(self, line: ScoreRow, *, per_task: bool = False) -> Estimate | None:
        """A line's average, if it has every column that averages are over."""
        columns = {column: line.columns[column] for column in self.averaged if column in line.columns}
        return average(columns, per_task=per_task) if len(columns) == len(self.averaged) else None

    def paper_average(self, line: ScoreRow) -> float | None:
        """The paper's average, if this table has just the columns it is over."""
        over = COLUMNS.get((self.backbone, self.benchmark), frozenset())
        return line.paper.average if line.paper and over == frozenset(self.averaged) else None


def scores_of(result: Result) -> dict[Column, float]:
    """Each task's metrics on the reported split, in percent; a mixture's by task."""
    return {
        column_of(result, name): 100 * value
        for name, value in result.metrics[result.split].items()
    }  # fmt: skip


def column_of(result: Result, name: str) -> Column:
    """The task and metric that a result's metric is of: a mixture's are called `task.metric`."""
    if len(tasks_in(result)) == 1:
        return result.task, name
    short, metric = name.rsplit(".", 1)
    return {end: task for task, end in short_names(tasks_in(result)).items()}[short], metric


def tasks_in(result: Result) -> list[str]:
    """The tasks of a run."""
    return list(result.experiment["task"].get("names", [result.task]))


def is_mixture(result: Result) -> bool:
    """Whether one model holds several tasks."""
    return "names" in result.experiment["task"]


def is_started(result: Result) -> bool:
    """Whether the run went on from a trained adapter."""
    return bool(result.experiment.get("start"))


def rows_of(result: Result) -> int | None:
    """Training rows that the run was given; None: all there are. Of a mixture, the most of each task."""
    rows: int | None = result.experiment["text"]["train_rows"]
    return rows


def is_part(result: Result) -> bool:
    """Whether the run was trained or tested on a part of the rows."""
    text = result.experiment["text"]
    return text["train_rows"] is not None or text.get("evaluation_rows") is not None


def by_benchmark(results: Iterable[Result]) -> dict[tuple[str, str], list[Result]]:
    """(benchmark, backbone) -> the runs that have tasks of it; a mixture may stand in several."""
    parts: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        for benchmark in dict.fromkeys(task.split("/")[0] for task in tasks_in(result)):
            parts[benchmark, result.experiment["backbone"]].append(result)
    return dict(sorted(parts.items()))


def tables(results: Sequence[Result]) -> list[ScoreTable]:
    """A table for each benchmark and backbone, of each task's runs on as many training rows as most methods had."""
    found = []
    for (benchmark, backbone), runs in by_benchmark(results).items():
        usual = usual_rows(runs)
        alike = [run for run in runs if is_mixture(run) or rows_of(run) == usual[run.task]]
        table = score_table(benchmark, backbone, alike)
        found.append(replace(table, rows={task: rows for task, rows in usual.items() if rows is not None}))
    return found


def usual_rows(results: Iterable[Result]) -> dict[str, int | None]:
    """The number of training rows of most methods, by task, the larger of two; None: all there are. Not of mixtures."""
    groups: dict[str, dict[int | None, set[str]]] = defaultdict(lambda: defaultdict(set))
    for result in results:
        if not is_mixture(result):
            groups[result.task][rows_of(result)].add(group_of(result, ("training.lr",), per_task=False))
    return {
        task: max(found, key=lambda rows: (len(found[rows]), amount(rows))) for task, found in groups.items()
    }  # fmt: skip


@dataclass(frozen=True)
class RowSubset:
    """Runs that differ in their number of training rows."""

    title: str
    tables: Mapping[int | None, ScoreTable]
    """By number of training rows, the fewest first; None: all there are."""


def few_rows(results: Sequence[Result]) -> list[RowSubset]:
    """Score against training rows: of methods that were trained on several numbers of rows and else alike."""
    found = []
    for (benchmark, backbone), runs in by_benchmark(results).items():
        alone = [(group_of(run, ("training.lr",), per_task=False), run) for run in runs if not is_mixture(run)]
        counts: dict[tuple[str, str], set[int | None]] = defaultdict(set)
        for group, run in alone:
            counts[group, run.task].add(rows_of(run))
        groups = {group for (group, _), rows in counts.items() if len(rows) > 1}
        several = [run for group, run in alone if group in groups]
        by_rows = {
            rows: score_table(benchmark, backbone, found_runs) for rows, found_runs in at_each_number(several).items()
        }
        kind = "Few-shot transfer" if any(map(is_started, several)) else "Low-resource"
        if by_rows:
            found.append(RowSubset(f"{kind}, {benchmark} on {backbone}", by_rows))
    return found


def at_each_number(results: Sequence[Result]) -> dict[int | None, list[Result]]:
    """The runs on each number of rows that was asked for; a task that has fewer rows is there with all it has."""
    whole = whole_sets(results)
    numbers = sorted({rows_of(run) for run in results} - set(whole.values()), key=amount)

    def fits(run: Result, rows: int | None) -> bool:
        own = rows_of(run)
        return own == rows or (own == whole.get(run.task) and rows is not None and amount(own) < rows)

    return {rows: [run for run in results if fits(run, rows)] for rows in numbers}


def whole_sets(results: Iterable[Result]) -> dict[str, int]:
    """Tasks that were trained on all they have where others had more rows: (task, how many it has).

    It shows from the numbers: the task's largest is its alone and not the largest of all; its others are shared.
    """
    numbers: dict[str, set[int]] = defaultdict(set)
    for result in results:
        numbers[result.task] |= {rows for rows in [rows_of(result)] if rows is not None}
    largest = max((rows for found in numbers.values() for rows in found), default=0)
    whole = {}
    for task, found in numbers.items():
        most = max(found, default=largest)
        others = set().union(*(rows for other, rows in numbers.items() if other != task))
        if most != largest and most not in others and len(found) > 1 and found - {most} <= others:
            whole[task] = most
    return whole


def amount(rows: int | None) -> float:
    """Numbers of rows in order; None is all."""
    return math.inf if rows is None else rows


def score_table(benchmark: str, backbone: str, results: Sequence[Result]) -> ScoreTable:
    """The table of some results, one rate for each line chosen on validation."""
    lines = distinct([line_of([choice], benchmark, backbone) for choice in select(results)])
    lines += best_of_sizes(lines, benchmark, backbone)
    lines.sort(key=lambda line: (-line.trained / line.tasks, line.label))
    columns = tuple(sorted({column for line in lines for column in line.columns}))
    return ScoreTable(benchmark, backbone, columns, tuple(lines))


def line_of(choices: Sequence[Choice], benchmark: str, backbone: str, best_of: int = 0) -> ScoreRow:
    """A line from what was chosen: once for all tasks, or for each by itself."""
    results = tuple(result for choice in choices for result in choice.results)
    first = max(results, key=lambda result: result.trained)
    family, size = named(method_from_json(first.experiment["method"]))
    tasks = len(tasks_in(first))
    plain = add_to_label(family, size)
    about = [f"{tasks} tasks in one"] if is_mixture(first) else []
    about += ["from a trained model"] if is_started(first) else []
    label = add_to_label(family, [f"best of {best_of} sizes"] if best_of else size)
    paper = PUBLISHED.get((backbone, benchmark), {}).get(plain)
    alike = not best_of and not any(map(is_part, results)) and not is_started(first)
    fits = paper and alike and paper.together == is_mixture(first)
    return ScoreRow(
        label=", ".join([label, *about]),
        family=", ".join([family, *about]),
        trained=first.trained,
        total=first.total,
        tasks=tasks,
        by_kind=first.by_kind,
        bytes=max(result.bytes for result in results),
        peak_memory=max(result.cost.peak_memory for result in results),
        columns=estimates(results, benchmark),
        chosen=", ".join(chosen_in_words(choice, best_of) for choice in choices),
        incomplete=tuple(dict.fromkeys(setting_in_words(text) for choice in choices for text in choice.incomplete)),
        paper=paper if fits else None,
        results=results,
        best_of=best_of,
    )


def chosen_in_words(choice: Choice, best_of: int) -> str:
    """What validation chose, with the task where each has its own."""
    setting = setting_in_words(choice.setting)
    return f"{setting} for {choice.results[0].task}" if best_of else setting


def setting_in_words(setting: str) -> str:
    """A setting out of its JSON."""
    return ", ".join(f"{path.split('.')[-1]} {value}" for path, value in json.loads(setting).items())


def distinct(lines: Sequence[ScoreRow]) -> list[ScoreRow]:
    """The lines, with what differs in their experiments added to labels that are the same."""
    found = []
    for line in lines:
        same = [flat(other.results[0].experiment) for other in lines if other.label == line.label]
        mine = flat(line.results[0].experiment)
        paths = [path for path in mine if any(other.get(path) != mine[path] for other in same)]
        about = [f"{path} = {mine[path]}" for path in paths if not path.startswith(NOT_A_DIFFERENCE)]
        found.append(replace(line, label=add_to_label(line.label, about)) if len(same) > 1 else line)
    return found


NOT_A_DIFFERENCE = ("training.lr", "training.seed", "training.epochs", "training.steps", "text.", "task.name", "start.")
"""Settings that are chosen, or belong to the task."""


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings by their path."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
        found |= inner
    return found


def estimates(results: Sequence[Result], benchmark: str = "") -> dict[Column, Estimate]:
    """An estimate for each task and metric, over the seeds; of one benchmark's tasks, or all."""
    scores: dict[Column, dict[int, float]] = defaultdict(dict)
    reached: dict[Column, list[tuple[float, float]]] = defaultdict(list)
    for result in results:
        found = scores_of(result)
        for column, score in found.items():
            scores[column][result.experiment["training"]["seed"]] = score
        for name, (low, high) in result.intervals.items():
            column = column_of(result, name)
            reached[column].append((max(found[column] - 100 * low, 0.0), max(100 * high - found[column], 0.0)))
    return {
        column: Estimate(by_seed, middle(reached[column]), -100.0 if column[1] in SIGNED else 0.0)
        for column, by_seed in scores.items()
        if column[0].split("/")[0] == benchmark or not benchmark
    }


def middle(reached: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """How far the intervals of several seeds reach in the mean."""
    return (
        (statistics.mean(low for low, _ in reached), statistics.mean(high for _, high in reached)) if reached else None
    )


def sizes(lines: Iterable[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """The families that have lines of several sizes, the smallest first."""
    families: dict[str, list[ScoreRow]] = defaultdict(list)
    for line in lines:
        if not line.best_of:
            families[line.family].append(line)
    return {
        family: sorted(found, key=lambda line: line.trained)
        for family, found in families.items()
        if len({line.trained for line in found}) > 1
    }


def best_of_sizes(lines: Sequence[ScoreRow], benchmark: str, backbone: str) -> list[ScoreRow]:
    """A line for each family of several sizes: the best size of each task, on validation (Houlsby et al., Table 1)."""
    found = []
    for same in sizes(lines).values():
        results = [result for line in same for result in line.results]
        methods = [result.experiment["method"] for result in results]
        varied = [name for name in SIZES if len({method.get(name) for method in methods}) > 1]
        vary = [f"method.{name}" for name in varied]
        choices = select(results, ["training.lr", *vary], per_task=True)
        found.append(line_of(choices, benchmark, backbone, best_of=len(same)))
    return found


def indistinguishable_from_best(table: ScoreTable) -> list[str]:
    """In words, which averages cannot be told from the best one."""
    known = [(line.label, average) for line in table.lines if (average := table.average(line)) is not None]
    if len(known) < 2:
        return []
    best, top = max(known, key=lambda pair: pair[1].mean)
    others = {label: found for label, found in known if label != best}
    alike = [label for label, found in others.items() if overlap(top, found)]
    unknown = [label for label, found in others.items() if overlap(top, found) is None]
    lines = []
    if alike:
        said = ", ".join(f"{label} {in_words(others[label])}" for label in alike)
        lines.append(f"{best} {in_words(top)} cannot be told apart from {said}: their 95 % intervals overlap.")
    if unknown:
        said = ", ".join(f"{label} {others[label]}" for label in unknown)
        lines.append(f"{best} {top} against {said}: no interval is known, so nothing is said of the difference.")
    return lines


def in_words(found: Estimate) -> str:
    """An estimate with its interval and seeds."""
    return f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f}, {seeds_in_words(found.seeds)})"


def seeds_in_words(seeds: int) -> str:
    """One seed, two seeds."""
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def against_paper(table: ScoreTable) -> list[str]:
    """In words, whether the paper's average lies within our interval."""
    found = []
    for line in table.lines:
        ours, theirs = table.average(line), table.paper_average(line)
        if ours is not None and theirs is not None and ours.reach is not None:
            where = "inside" if ours.low <= theirs <= ours.high else "outside"
            interval = f"{ours.low:.2f} to {ours.high:.2f}, {seeds_in_words(ours.seeds)}"
            found.append(f"{line.label}: the paper's {theirs:.2f} lies {where} our 95 % interval ({interval}).")
    return found
