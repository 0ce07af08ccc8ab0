"""Score tables at several numbers of training rows: low-resource and few-shot comparisons."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyperadapters.reports.facts import is_limited, is_mixture, is_warm_started, training_rows
from hyperadapters.reports.tables import ScoreTable, by_benchmark, score_table
from hyperadapters.runs import Result
from hyperadapters.sweeps import group_of

ALL_ROWS = None
"""In place of a number of training rows: each task with all it has."""


@dataclass(frozen=True)
class TrainingRowsComparison:
    """Methods on several numbers of training rows and else alike."""

    title: str
    tables: Mapping[int | None, ScoreTable]
    """By number of training rows, the fewest first; ALL_ROWS last."""


def compare_training_rows(results: Sequence[Result]) -> list[TrainingRowsComparison]:
    """Return a comparison for each benchmark and backbone with methods trained on several numbers of rows."""
    comparisons = []
    for (benchmark, backbone), runs in by_benchmark(results).items():
        varied = with_several_numbers([run for run in runs if not is_mixture(run)])
        tables = {rows: score_table(benchmark, backbone, at) for rows, at in by_number(varied).items()}
        kind = "Few-shot transfer" if any(map(is_warm_started, varied)) else "Low-resource"
        if tables:
            comparisons.append(TrainingRowsComparison(f"{kind}, {benchmark} on {backbone}", tables))
    return comparisons


def with_several_numbers(results: Sequence[Result]) -> list[Result]:
    """Return the runs of methods that were trained on several numbers of rows of one task."""
    groups = [group_of(run, ("training.lr",), per_task=False) for run in results]
    numbers: dict[tuple[str, str], set[int]] = defaultdict(set)
    for group, run in zip(groups, results, strict=True):
        numbers[group, run.task].add(training_rows(run))
    varied = {group for (group, _), rows in numbers.items() if len(rows) > 1}
    return [run for group, run in zip(groups, results, strict=True) if group in varied]


def by_number(results: Sequence[Result]) -> dict[int | None, list[Result]]:
    """Return the runs by number of training rows; a task that has fewer rows stands there with all it has.

    ALL_ROWS is there only if a run on all rows had more than the largest number.
    """
    numbers = sorted({training_rows(run) for run in results if is_limited(run, "train")})
    groups: dict[int | None, list[Result]] = {
        number: [run for run in results if belongs_to(run, number)] for number in numbers
    }
    whole = [run for run in results if not is_limited(run, "train")]
    if any(training_rows(run) > max(numbers, default=0) for run in whole):
        groups[ALL_ROWS] = whole
    return groups


def belongs_to(result: Result, number: int) -> bool:
    """Return whether a run was trained on this number of rows, or on all of a task that has fewer."""
    rows = training_rows(result)
    return rows == number or (rows < number and not is_limited(result, "train"))
