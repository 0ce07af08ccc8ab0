"""Validation scores against steps."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

from hyperadapters._utils import mean_score
from hyperadapters.reports.document import Section
from hyperadapters.reports.facts import _task_names
from hyperadapters.reports.figures import Figure, Mark
from hyperadapters.reports.tables import _ScoreTable
from hyperadapters.runs import Result


def _learning_curve_sections(table: _ScoreTable) -> list[Section]:
    """Return a figure for each task or mixture, a line for each method's chosen setting; nothing without histories."""
    runs: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for row in table.rows:
        for result in row.results if not row.best_of else ():
            if result.history and _task_names(result)[0] in table.tasks:  # a mixture: in the first of its tables
                runs[result.task][row.label].append(result)
    figures = [_learning_curve_figure(task, table.backbone, by_label) for task, by_label in runs.items()]
    return [Section(f"Learning curves, {table.title}", figures=figures)] if figures else []


def _learning_curve_figure(task: str, backbone: str, runs: dict[str, list[Result]]) -> Figure:
    """Return the learning curves of one task, or of a mixture called `task+task`, by the methods' labels."""
    tasks = task.split("+")
    name = f"{len(tasks)} tasks in one: {', '.join(tasks)}" if len(tasks) > 1 else task
    series = {label: _curve(label, found) for label, found in runs.items()}
    caption = "Means over seeds; bands: one standard deviation."
    title = f"Learning curves, {name}, {backbone}"
    return Figure(title, series, "steps", "validation, mean of the metrics, %", caption=caption)


def _curve(label: str, runs: Sequence[Result]) -> list[Mark]:
    """Return the mean of several seeds' evaluations, in percent, at the steps where all have one."""
    by_step: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        names = run.metrics["validation"]
        for entry in run.history:
            by_step[entry["step"]].append(100 * mean_score({name: entry[name] for name in names}))
    return [_curve_mark(label, step, scores) for step, scores in sorted(by_step.items()) if len(scores) == len(runs)]


def _curve_mark(label: str, step: int, scores: Sequence[float]) -> Mark:
    """Return the point of one step, with a margin of one standard deviation over the seeds."""
    mean = statistics.mean(scores)
    margin = (statistics.stdev(scores),) * 2 if len(scores) > 1 else None
    return Mark(step, mean, f"{label}, step {step}\n{mean:.2f}, {len(scores)} run(s)", 5, margin)
