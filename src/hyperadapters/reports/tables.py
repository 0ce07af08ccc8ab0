"""Score tables: one for each benchmark and backbone, one row for each method in one setting."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hyperadapters._utils import metric_scale
from hyperadapters.methods import method_from_json
from hyperadapters.papers import COLUMNS, PUBLISHED, PublishedScore
from hyperadapters.reports.estimates import _average, _Column, _Estimate, _estimate_columns
from hyperadapters.reports.facts import _is_limited, _is_mixture, _is_warm_started, _task_names, _training_rows
from hyperadapters.runs import SIZES, Result, add_to_label, named
from hyperadapters.sweeps import Choice, group_of, select


@dataclass(frozen=True)
class _ScoreRow:
    """One row of a score table: a method in one setting."""

    label: str
    family: str
    """The label without the method's size: rows of one family differ in size alone."""
    trained: int
    """Trained parameters of one model."""
    total: int
    """Parameters of the backbone."""
    tasks: int
    """Tasks that one model holds."""
    by_kind: Mapping[str, int]
    """Trained parameters by kind."""
    bytes: int
    """Stored for one model, the largest of the runs."""
    peak_memory: int
    """Bytes, the most of any run's training step."""
    columns: Mapping[_Column, _Estimate]
    chosen: str
    """The setting that validation chose, in words."""
    incomplete: tuple[str, ...]
    """Settings that lack runs which another setting has, in words."""
    published: PublishedScore | None
    """The same row of the paper's table, where there is one."""
    results: tuple[Result, ...]
    best_of: int = 0
    """The number of sizes among which this row takes the best for each task; 0 if it is a size itself."""

    @property
    def percent(self) -> float:
        """Trained parameters for one task, in percent of the backbone's."""
        return 100 * self.trained / self.total / self.tasks

    def relative_size(self, tasks: int) -> float:
        """Return the parameters of a number of tasks together, in units of the backbone.

        That is 1 + models · (trained, without norms) / backbone, as HyperFormer and Compacter print it; where the
        backbone itself is trained, one copy of it for each model.
        """
        models = tasks / self.tasks
        if self.by_kind.get("backbone"):
            return models * self.by_kind["backbone"] / self.total
        return 1 + models * (self.trained - self.by_kind.get("norm", 0)) / self.total


@dataclass(frozen=True)
class _ScoreTable:
    """The scores of all methods on the tasks of one benchmark with one backbone."""

    benchmark: str
    backbone: str
    columns: tuple[_Column, ...]
    rows: tuple[_ScoreRow, ...]
    limits: Mapping[str, int] = field(default_factory=dict)
    """The number of training rows of each task that was trained on a part of them."""

    @property
    def title(self) -> str:
        """Benchmark and backbone."""
        return f"{self.benchmark} on {self.backbone}"

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order of the columns."""
        return tuple(dict.fromkeys(task for task, _ in self.columns))

    @property
    def averaged(self) -> tuple[_Column, ...]:
        """The columns that averages are over: the shares that half of the rows or more have."""
        shares = [column for column in self.columns if metric_scale(column[1]).share] or self.columns
        counts = {column: sum(column in row.columns for row in self.rows) for column in shares}
        return tuple(column for column in shares if 2 * counts[column] >= len(self.rows))

    def average(self, row: _ScoreRow, *, per_task: bool = False) -> _Estimate | None:
        """Return a row's average over metrics or tasks; None if it lacks one of the columns, or none is averaged."""
        columns = {column: row.columns[column] for column in self.averaged if column in row.columns}
        return _average(columns, per_task=per_task) if columns and len(columns) == len(self.averaged) else None

    def averages(self) -> list[tuple[_ScoreRow, _Estimate]]:
        """Return the rows that have an average over metrics, with it."""
        pairs = [(row, self.average(row)) for row in self.rows]
        return [(row, estimate) for row, estimate in pairs if estimate is not None]

    def published_average(self, row: _ScoreRow) -> float | None:
        """Return the paper's average for a row; None unless it is over just the columns of this table's averages."""
        columns = COLUMNS.get((self.backbone, self.benchmark), frozenset())
        return row.published.average if row.published and columns == frozenset(self.averaged) else None


def _score_tables(results: Sequence[Result]) -> list[_ScoreTable]:
    """Return a table for each benchmark and backbone.

    Runs of one task on different numbers of training rows do not stand in one table: of each task it takes those on
    the number that most methods have.
    """
    tables = []
    for (benchmark, backbone), runs in _by_benchmark(results).items():
        usual = _most_common_rows(runs)
        alike = [run for run in runs if _training_rows(run) == usual[run.task]]
        limited = [run for run in alike if _is_limited(run, "train")]
        table = _score_table(benchmark, backbone, alike)
        tables.append(replace(table, limits={run.task: _training_rows(run) for run in limited}))
    return tables


def _by_benchmark(results: Iterable[Result]) -> dict[tuple[str, str], list[Result]]:
    """Return the runs by (benchmark, backbone), in alphabetical order; a mixture may stand under several."""
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        for benchmark in dict.fromkeys(task.split("/")[0] for task in _task_names(result)):
            groups[benchmark, result.experiment["backbone"]].append(result)
    return dict(sorted(groups.items()))


def _most_common_rows(results: Iterable[Result]) -> dict[str, int]:
    """Return, for each task and mixture, the number of training rows that most methods have, the larger of two."""
    methods: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for result in results:
        methods[result.task][_training_rows(result)].add(group_of(result, ("training.lr",), per_task=False))
    return {task: max(by_rows, key=lambda rows: (len(by_rows[rows]), rows)) for task, by_rows in methods.items()}


def _score_table(benchmark: str, backbone: str, results: Sequence[Result]) -> _ScoreTable:
    """Return the table of some results, one learning rate for each row, or for each of its tasks."""
    rows = _with_distinct_labels([_score_row(choices, benchmark, backbone) for choices in _choices_of_rows(results)])
    rows += _best_of_sizes(rows, benchmark, backbone)
    rows.sort(key=lambda row: (-row.trained / row.tasks, row.label))
    columns = tuple(sorted({column for row in rows for column in row.columns}))
    return _ScoreTable(benchmark, backbone, columns, tuple(rows))


def _choices_of_rows(results: Sequence[Result]) -> list[Sequence[Choice]]:
    """Return for each method what validation chose: one rate, or one for each task where none has all tasks.

    So it is after a race, which leaves each task the runs of its winner alone.
    """
    by_task: dict[str, list[Choice]] = defaultdict(list)
    for choice in select(results, per_task=True):
        by_task[group_of(choice.results[0], ("training.lr",), per_task=False)].append(choice)

    def tasks(choices: Sequence[Choice]) -> set[str]:
        return {result.task for choice in choices for result in choice.results}

    together = select(results)
    return [[one] if tasks([one]) == tasks(by_task[one.group]) else by_task[one.group] for one in together]


def _score_row(choices: Sequence[Choice], benchmark: str, backbone: str, best_of: int = 0) -> _ScoreRow:
    """Return the row of one choice for all tasks, or of one for each task."""
    results = tuple(result for choice in choices for result in choice.results)
    largest = max(results, key=lambda result: result.trained)
    family, size = named(method_from_json(largest.experiment["method"]))
    tasks = len(_task_names(largest))
    suffixes = [f"{tasks} tasks in one"] if _is_mixture(largest) else []
    suffixes += ["from a trained model"] if _is_warm_started(largest) else []
    label = add_to_label(family, [f"best of {best_of} sizes"] if best_of else size)
    published = PUBLISHED.get((backbone, benchmark), {}).get(add_to_label(family, size))
    return _ScoreRow(
        label=", ".join([label, *suffixes]),
        family=", ".join([family, *suffixes]),
        trained=largest.trained,
        total=largest.total,
        tasks=tasks,
        by_kind=largest.by_kind,
        bytes=max(result.bytes for result in results),
        peak_memory=max(result.cost.peak_memory for result in results),
        columns=_estimate_columns(results, benchmark),
        chosen=", ".join(_describe_choice(choice, with_task=len(choices) > 1) for choice in choices),
        incomplete=tuple(dict.fromkeys(_describe_setting(text) for choice in choices for text in choice.incomplete)),
        published=published if published and not best_of and _is_comparable(results, published) else None,
        results=results,
        best_of=best_of,
    )


def _is_comparable(results: Sequence[Result], published: PublishedScore) -> bool:
    """Return whether runs were made as a paper's row was: on whole data sets, from the backbone, one task or all."""
    return not any(
        _is_limited(result) or _is_warm_started(result) or _is_mixture(result) != published.together
        for result in results
    )


def _describe_choice(choice: Choice, *, with_task: bool) -> str:
    """Return the setting that validation chose, in words, with its task if asked for."""
    setting = _describe_setting(choice.setting)
    return f"{setting} for {choice.results[0].task}" if with_task else setting


def _describe_setting(setting: str) -> str:
    """Return a setting given as JSON in words: {"training.lr": 0.003} is `lr 0.003`."""
    return ", ".join(f"{path.split('.')[-1]} {value}" for path, value in json.loads(setting).items())


def _with_distinct_labels(rows: Sequence[_ScoreRow]) -> list[_ScoreRow]:
    """Return the rows; where several have one label, each with what differs in its experiment added."""
    distinct = []
    for row in rows:
        same = [_flatten(other.results[0].experiment) for other in rows if other.label == row.label]
        own = _flatten(row.results[0].experiment)
        paths = [path for path in own if any(other.get(path) != own[path] for other in same)]
        changes = [f"{path} = {own[path]}" for path in paths if not path.startswith(_NOT_A_DIFFERENCE)]
        distinct.append(replace(row, label=add_to_label(row.label, changes)) if len(same) > 1 else row)
    return distinct


_NOT_A_DIFFERENCE = (
    "training.lr",
    "training.seed",
    "training.epochs",
    "training.steps",
    "training.min_steps",
    "text.",
    "task.name",
    "start.",
)
"""Settings that are chosen on validation, or belong to the task."""


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their path: {"training": {"lr": 1}} gives {"training.lr": 1}."""
    paths: dict[str, Any] = {}
    for name, value in settings.items():
        path = f"{prefix}{name}"
        paths |= _flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return paths


def _families_of_sizes(rows: Iterable[_ScoreRow]) -> dict[str, list[_ScoreRow]]:
    """Return the families that have rows of several sizes, the smallest first."""
    families: dict[str, list[_ScoreRow]] = defaultdict(list)
    for row in rows:
        if not row.best_of:
            families[row.family].append(row)
    return {
        family: sorted(same, key=lambda row: row.trained)
        for family, same in families.items()
        if len({row.trained for row in same}) > 1
    }


def _best_of_sizes(rows: Sequence[_ScoreRow], benchmark: str, backbone: str) -> list[_ScoreRow]:
    """Return a row for each family of several sizes: each task's best size on validation (Houlsby et al., Table 1)."""
    best = []
    for same in _families_of_sizes(rows).values():
        results = [result for row in same for result in row.results]
        methods = [result.experiment["method"] for result in results]
        varied = [f"method.{name}" for name in SIZES if len({method.get(name) for method in methods}) > 1]
        choices = select(results, ["training.lr", *varied], per_task=True)
        best.append(_score_row(choices, benchmark, backbone, best_of=len(same)))
    return best
