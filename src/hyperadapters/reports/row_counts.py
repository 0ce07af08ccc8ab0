"""Score tables at several numbers of training rows: low-resource and few-shot comparisons."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyperadapters.reports.facts import _is_limited, _is_mixture, _is_warm_started, _training_rows
from hyperadapters.reports.tables import _by_benchmark, _score_table, _ScoreTable
from hyperadapters.runs import Result
from hyperadapters.sweeps import group_of

_ALL_ROWS = None
"""In place of a number of training rows: each task with all it has."""


@dataclass(frozen=True)
class _TrainingRowsComparison:
    """Methods on several numbers of training rows and else alike."""

    title: str
    tables: Mapping[int | None, _ScoreTable]
    """By number of training rows, the fewest first; ALL_ROWS last."""


def _compare_training_rows(results: Sequence[Result]) -> list[_TrainingRowsComparison]:
    """Return a comparison for each benchmark and backbone with methods trained on several numbers of rows."""
    comparisons = []
    for (benchmark, backbone), runs in _by_benchmark(results).items():
        varied = _with_several_numbers([run for run in runs if not _is_mixture(run)])
        tables = {rows: _score_table(benchmark, backbone, at) for rows, at in _by_number(varied).items()}
        kind = "Few-shot transfer" if any(map(_is_warm_started, varied)) else "Low-resource"
        if tables:
            comparisons.append(_TrainingRowsComparison(f"{kind}, {benchmark} on {backbone}", tables))
    return comparisons


def _with_several_numbers(results: Sequence[Result]) -> list[Result]:
    """Return the runs of methods that were trained on several numbers of rows of one task."""
    groups = [group_of(run, ("training.lr",), per_task=False) for run in results]
    numbers: dict[tuple[str, str], set[int]] = defaultdict(set)
    for group, run in zip(groups, results, strict=True):
        numbers[group, run.task].add(_training_rows(run))
    varied = {group for (group, _), rows in numbers.items() if len(rows) > 1}
    return [run for group, run in zip(groups, results, strict=True) if group in varied]


def _by_number(results: Sequence[Result]) -> dict[int | None, list[Result]]:
    """Return the runs by number of training rows; a task that has fewer rows stands there with all it has.

    ALL_ROWS is there only if a run on all rows had more than the largest number.
    """
    numbers = sorted({_training_rows(run) for run in results if _is_limited(run, "train")})
    groups: dict[int | None, list[Result]] = {
        number: [run for run in results if _belongs_to(run, number)] for number in numbers
    }
    whole = [run for run in results if not _is_limited(run, "train")]
    if any(_training_rows(run) > max(numbers, default=0) for run in whole):
        groups[_ALL_ROWS] = whole
    return groups


def _belongs_to(result: Result, number: int) -> bool:
    """Return whether a run was trained on this number of rows, or on all of a task that has fewer."""
    rows = _training_rows(result)
    return rows == number or (rows < number and not _is_limited(result, "train"))
