"""What a reader of the tables must know, in sentences: how settings were chosen, what differs and what does not."""

from collections import defaultdict
from collections.abc import Sequence

from hyperadapters._utils import metric_scale
from hyperadapters.reports.estimates import _Column, _Estimate, _intervals_overlap
from hyperadapters.reports.facts import _drawn_tasks, _is_limited, _task_names, _validated_tasks
from hyperadapters.reports.tables import _ScoreTable
from hyperadapters.runs import Result


def _table_notes(table: _ScoreTable) -> list[str]:
    """Return the notes below a score table."""
    return [
        f"Scores in percent, {_splits(table)}; ± is the standard deviation over seeds, brackets the 95 % interval by "
        "bootstrap over these rows. Total × is the parameters of all these tasks together in units of the "
        "backbone, norms left out as in the papers; stored is all that is saved for them, norms included.",
        *_settings_notes(table),
        *_data_notes(table),
        *_drawn_notes(table),
        *_indistinguishable_from_best(table),
        *_compare_with_paper(table),
    ]


def _splits(table: _ScoreTable) -> str:
    """Return of which split the scores are, in words."""
    runs = [run for row in table.rows for run in row.results]
    validated = {task for run in runs for task in _validated_tasks(run)}
    tested = {task for run in runs for task in _task_names(run) if task not in _validated_tasks(run)}
    of_validation = "of the validation split, which chose the weights too"
    if not tested.intersection(table.tasks):
        return of_validation
    named = ", ".join(task for task in table.tasks if task in validated)
    return "of the test split" + (f"; without test rows, {of_validation}: {named}" if named else "")


def _drawn_notes(table: _ScoreTable) -> list[str]:
    """Return for which tasks every seed has its own validation rows, of those whose scores are of these rows."""
    seeds: dict[str, set[int]] = defaultdict(set)
    for run in (run for row in table.rows for run in row.results):
        drawn = _drawn_tasks(run)
        for task in drawn.keys() & {*_validated_tasks(run)}:
            seeds[task].add(drawn[task])
    several = ", ".join(task for task in table.tasks if len(seeds[task]) > 1)
    return [f"Each seed drew its own validation rows from the training rows: {several}."] if several else []


def _settings_notes(table: _ScoreTable) -> list[str]:
    """Return what validation chose for which rows, and which settings lack runs."""
    chosen: dict[str, list[str]] = defaultdict(list)
    for row in table.rows:
        chosen[row.chosen].append(row.label)
    settings = "; ".join(f"{setting}: {', '.join(labels)}" for setting, labels in chosen.items())
    return [
        f"Chosen on validation: {settings}.",
        *(
            f"{row.label}: lacks runs of some settings, which take part only where none has all: "
            f"{'; '.join(row.incomplete)}."
            for row in table.rows
            if row.incomplete
        ),
    ]


def _data_notes(table: _ScoreTable) -> list[str]:
    """Return which columns the averages are over, and which runs used a part of the rows."""
    notes = []
    if len(table.averaged) < len(table.columns):
        over = ", ".join(map(_column_title, table.averaged))
        said = f"Averages are over {over}, which" if over else "There are no averages: no column is one that"
        notes.append(f"{said} half of the methods or more have.")
    if table.limits:
        limits = ", ".join(f"{task} {rows:,}" for task, rows in sorted(table.limits.items()))
        notes.append(f"Trained on a part of the training rows: {limits}.")
    tested = [row.label for row in table.rows if any(_is_limited(run, run.split) for run in row.results)]
    if tested:
        notes.append(f"Tested on a part of the rows by {', '.join(tested)}.")
    return notes


def _column_title(column: _Column) -> str:
    """Return a column's heading: the task without its benchmark, and the metric."""
    task, metric = column
    return f"{task.split('/')[-1]} {metric}"


def _indistinguishable_from_best(table: _ScoreTable) -> list[str]:
    """Return which averages have intervals that overlap with the best one's, and for which none is known."""
    averages = {row.label: estimate for row, estimate in table.averages()}
    lower = {metric_scale(metric).lower_is_better for _, metric in table.averaged}
    if len(averages) < 2 or len(lower) > 1:
        return []
    best = (min if lower == {True} else max)(averages, key=lambda label: averages[label].mean)
    top = averages.pop(best)
    overlaps = {label: _intervals_overlap(top, estimate) for label, estimate in averages.items()}
    alike = ", ".join(f"{label} {_describe(averages[label])}" for label, overlap in overlaps.items() if overlap)
    unknown = ", ".join(f"{label} {averages[label]}" for label, overlap in overlaps.items() if overlap is None)
    notes = []
    if alike:
        notes.append(f"{best} {_describe(top)} cannot be told apart from {alike}: their 95 % intervals overlap.")
    if unknown:
        notes.append(f"{best} {top} against {unknown}: no interval is known, so nothing is said of the difference.")
    return notes


def _compare_with_paper(table: _ScoreTable) -> list[str]:
    """Return for each row with a published average whether that lies in our interval."""
    notes = []
    for row, ours in table.averages():
        theirs = table.published_average(row)
        if theirs is not None and ours.margin is not None:
            place = "inside" if ours.low <= theirs <= ours.high else "outside"
            interval = f"{ours.low:.2f} to {ours.high:.2f}, {_count_seeds(ours.seeds)}"
            notes.append(f"{row.label}: the paper's {theirs:.2f} lies {place} our 95 % interval ({interval}).")
    return notes


def _describe(estimate: _Estimate) -> str:
    """Return a mean with its interval and number of seeds."""
    return f"{estimate.mean:.2f} ({estimate.low:.2f} to {estimate.high:.2f}, {_count_seeds(estimate.seeds)})"


def _count_seeds(seeds: int) -> str:
    """Return "1 seed", "2 seeds"."""
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def versions_differ(results: Sequence[Result]) -> list[str]:
    """Return a warning if the results come from several versions of a package, to which small differences may be due.

    Returns:
        One sentence, or none.
    """
    versions: dict[str, set[str]] = defaultdict(set)
    for result in results:
        for package, version in result.versions.items():
            versions[package].add(version)
    mixed = "; ".join(
        f"{package} {', '.join(sorted(several))}" for package, several in versions.items() if len(several) > 1
    )
    return [f"Runs of several versions stand side by side ({mixed}): rerun the older ones to be sure."] if mixed else []
