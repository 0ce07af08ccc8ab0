"""Scores against the number of training rows."""

from collections.abc import Sequence

from hyperadapters._utils import metric_scale
from hyperadapters.reports.document import Section, _Grid
from hyperadapters.reports.estimates import _average, _Estimate
from hyperadapters.reports.figures import Figure, Mark
from hyperadapters.reports.notes import _count_seeds
from hyperadapters.reports.row_counts import _ALL_ROWS, _compare_training_rows, _TrainingRowsComparison
from hyperadapters.reports.sections.scores import _AVERAGE_AXIS
from hyperadapters.reports.tables import _ScoreTable
from hyperadapters.runs import Result

_AVERAGE = "average"
"""In place of a task: the average of all."""
_NOTE = (
    "Mean of a task's metrics in percent, ± the standard deviation over seeds (their number in brackets); the average "
    "is over metric columns. A task with fewer rows than asked for takes part with all it has."
)


def _low_resource_sections(results: Sequence[Result]) -> list[Section]:
    """Return score against training rows: Figure 4 of Compacter, and HyperFormer's few-shot table."""
    return [_low_resource_section(comparison) for comparison in _compare_training_rows(results)]


def _low_resource_section(comparison: _TrainingRowsComparison) -> Section:
    """Return the table and figures of one comparison, by task and on average."""
    tables = comparison.tables
    labels = list(dict.fromkeys(row.label for table in tables.values() for row in table.rows))
    tasks = list(dict.fromkeys(task for table in tables.values() for task in table.tasks))
    tasks = [_AVERAGE, *tasks] if len(tasks) > 1 else tasks
    groups = [
        [[task, "all" if number is _ALL_ROWS else f"{number:,}", *(_cell(table, label, task) for label in labels)]]
        for task in tasks
        for number, table in tables.items()
    ]
    figures = [_low_resource_figure(comparison, task, labels) for task in tasks]
    grid = _Grid(["task", "training rows", *labels], groups)
    return Section(comparison.title, [grid], [_NOTE], [figure for figure in figures if figure.series])


def _cell(table: _ScoreTable, label: str, task: str) -> str:
    """Return a score with its number of seeds; a dash for none."""
    estimate = _score_on(table, label, task)
    return "–" if estimate is None else f"{estimate} ({estimate.seeds})"


def _score_on(table: _ScoreTable, label: str, task: str) -> _Estimate | None:
    """Return the average of a row's metrics on a task, or on all; None where it lacks them."""
    row = next((row for row in table.rows if row.label == label), None)
    if row is None:
        return None
    if task == _AVERAGE:
        return table.average(row)
    own = {column: estimate for column, estimate in row.columns.items() if column[0] == task}
    columns = {column: estimate for column, estimate in own.items() if metric_scale(column[1]).share} or own
    return _average(columns) if columns else None


def _low_resource_figure(comparison: _TrainingRowsComparison, task: str, labels: Sequence[str]) -> Figure:
    """Return score against training rows, a line for each method with a band of one standard deviation."""
    series: dict[str, list[Mark]] = {}
    for label in labels:
        for number, table in comparison.tables.items():
            estimate = _score_on(table, label, task)
            if number is not _ALL_ROWS and estimate is not None:
                tip = f"{label}, {number:,} rows\n{estimate}, {_count_seeds(estimate.seeds)}"
                margin = None if estimate.sd is None else (estimate.sd, estimate.sd)
                series.setdefault(label, []).append(Mark(number, estimate.mean, tip, margin=margin))
    caption = "Bands: standard deviation over seeds."
    y_title = _AVERAGE_AXIS if task == _AVERAGE else "mean of the metrics, %"
    return Figure(f"{comparison.title}, {task}", series, "training rows", y_title, log_x=True, caption=caption)
