"""Scores against the number of training rows."""

from collections.abc import Sequence

from hyperadapters.reports.document import Grid, Section
from hyperadapters.reports.estimates import Estimate, average
from hyperadapters.reports.figures import Figure, Mark
from hyperadapters.reports.notes import count_seeds
from hyperadapters.reports.row_counts import ALL_ROWS, TrainingRowsComparison, compare_training_rows
from hyperadapters.reports.sections.scores import AVERAGE_AXIS
from hyperadapters.reports.tables import ScoreTable
from hyperadapters.runs import Result

AVERAGE = "average"
"""In place of a task: the average of all."""
NOTE = (
    "Mean of a task's metrics in percent, ± the standard deviation over seeds (their number in brackets); the average "
    "is over metric columns. A task with fewer rows than asked for takes part with all it has."
)


def low_resource_sections(results: Sequence[Result]) -> list[Section]:
    """Return score against training rows: Figure 4 of Compacter, and HyperFormer's few-shot table."""
    return [low_resource_section(comparison) for comparison in compare_training_rows(results)]


def low_resource_section(comparison: TrainingRowsComparison) -> Section:
    """Return the table and figures of one comparison, by task and on average."""
    tables = comparison.tables
    labels = list(dict.fromkeys(row.label for table in tables.values() for row in table.rows))
    tasks = list(dict.fromkeys(task for table in tables.values() for task in table.tasks))
    tasks = [AVERAGE, *tasks] if len(tasks) > 1 else tasks
    groups = [
        [[task, "all" if number is ALL_ROWS else f"{number:,}", *(cell(table, label, task) for label in labels)]]
        for task in tasks
        for number, table in tables.items()
    ]
    figures = [low_resource_figure(comparison, task, labels) for task in tasks]
    grid = Grid(["task", "training rows", *labels], groups)
    return Section(comparison.title, [grid], [NOTE], [figure for figure in figures if figure.series])


def cell(table: ScoreTable, label: str, task: str) -> str:
    """Return a score with its number of seeds; a dash for none."""
    estimate = score_on(table, label, task)
    return "–" if estimate is None else f"{estimate} ({estimate.seeds})"


def score_on(table: ScoreTable, label: str, task: str) -> Estimate | None:
    """Return the average of a row's metrics on a task, or on all; None where it lacks them."""
    row = next((row for row in table.rows if row.label == label), None)
    if row is None:
        return None
    if task == AVERAGE:
        return table.average(row)
    columns = {column: estimate for column, estimate in row.columns.items() if column[0] == task}
    return average(columns) if columns else None


def low_resource_figure(comparison: TrainingRowsComparison, task: str, labels: Sequence[str]) -> Figure:
    """Return score against training rows, a line for each method with a band of one standard deviation."""
    series: dict[str, list[Mark]] = {}
    for label in labels:
        for number, table in comparison.tables.items():
            estimate = score_on(table, label, task)
            if number is not ALL_ROWS and estimate is not None:
                tip = f"{label}, {number:,} rows\n{estimate}, {count_seeds(estimate.seeds)}"
                margin = None if estimate.sd is None else (estimate.sd, estimate.sd)
                series.setdefault(label, []).append(Mark(number, estimate.mean, tip, margin=margin))
    caption = "Bands: standard deviation over seeds."
    y_title = AVERAGE_AXIS if task == AVERAGE else "mean of the metrics, %"
    return Figure(f"{comparison.title}, {task}", series, "training rows", y_title, log_x=True, caption=caption)
