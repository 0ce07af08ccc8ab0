"""Reading the results of many runs, damaged ones left out and named."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperadapters._utils import LARGEST_JSON, InputError, expand_path, find_files, json_object
from hyperadapters.methods import method_from_json
from hyperadapters.reports.estimates import _column_of, _scores_by_column
from hyperadapters.reports.facts import _task_names
from hyperadapters.runs import RESULT, Result, read_result, result_from_json
from hyperadapters.storage import task_embeddings
from hyperadapters.sweeps import distinguish_tasks

if TYPE_CHECKING:
    from torch import Tensor


def read_results(place: str | Path) -> tuple[dict[Path, Result], list[str]]:
    """Read every `result.json` below a folder, or every line of a JSON Lines file of results.

    Args:
        place: a folder, such as a sweep's, or a file that ends in `.jsonl`.

    Returns:
        The results by the folder that holds each, or by file and line, where several own data files share a name told
        apart by their folders; and, in words, what is wrong with the results that were left out.

    Raises:
        InputError: no such folder or file, or no result in it can be read.
    """
    place = expand_path(place)
    if not place.is_dir() and place.suffix != ".jsonl":
        raise InputError(
            f"{place} is no folder. Name one with runs, such as the --output of a sweep, or a .jsonl file."
        )
    if not place.exists():
        raise InputError(f"{place} does not exist.")
    results, problems = {}, []
    for path, read in (_in_folder if place.is_dir() else _in_lines)(place):
        try:
            results[path] = _check_result(read(), path)
        except InputError as error:
            problems.append(re.sub(r"\n\s*", "; ", str(error)).replace(":;", ":"))  # each on one line of a report
    if not results:
        why = f": {problems[0]}" if problems else ". `hyperadapters sweep` and `train` write them."
        raise InputError(f"{place} holds no {RESULT} of a run that can be read, at any depth{why}")
    return dict(zip(results, distinguish_tasks(list(results.values())), strict=True)), problems


def read_embeddings(results: Mapping[Path, Result]) -> tuple[dict[Path, dict[str, "Tensor"]], list[str]]:
    """Read the task embeddings of every hypernetwork whose adapter lies beside its result.

    Args:
        results: by the folder that holds each.

    Returns:
        By folder, tensors by the task's name; and, in words, which adapters are damaged and left out.
    """
    found, problems = {}, []
    for folder in results:
        try:
            found[folder] = task_embeddings(folder)
        except InputError as error:
            problems.append(f"the task embeddings beside {folder / RESULT}: {' '.join(str(error).split())}")
    return found, problems


def _in_folder(folder: Path) -> Iterator[tuple[Path, Callable[[], Result]]]:
    """Yield each folder that holds a result, at any depth, with a function that reads it."""
    for path in find_files(folder, RESULT):
        yield path.parent, partial(read_result, path.parent)


def _in_lines(file: Path) -> Iterator[tuple[Path, Callable[[], Result]]]:
    """Yield each line of a file as `file:line`, with a function that makes a result of it."""
    with file.open("rb") as lines:
        for number, line in enumerate(iter(partial(lines.readline, LARGEST_JSON), b""), 1):
            if line.strip():
                yield Path(f"{file}:{number}"), partial(_result_of_line, line, f"{file}:{number}")


def _result_of_line(line: bytes, where: str) -> Result:
    """Return the result in a line of JSON."""
    return result_from_json(json_object(line, where), where)


def _check_result(result: Result, path: Path) -> Result:
    """Return the result if it has everything that tables need.

    Raises:
        InputError: something is missing or of a wrong type, or a number is not finite or impossible.
    """
    try:
        numbers = _shown_numbers(result)
        complete = _is_complete(result) and all(isinstance(number, int | float) for number in numbers)
        finite = all(math.isfinite(number) for number in numbers)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is not a result of this version ({type(error).__name__}: {error}).") from error
    if not complete:
        raise InputError(f"{path} is damaged: it lacks scores, or holds what no run can have. Run it again.")
    if not finite:
        raise InputError(f"{path} has scores that are no finite numbers: run it again.")
    return result


def _is_complete(result: Result) -> bool:
    """Return whether a result has the fields that tables are made from, with values that a run can have.

    Raises:
        InputError, KeyError, TypeError, AttributeError: a field is missing or of another type.
    """
    method_from_json(result.experiment["method"])
    rows, available = result.rows, result.rows_available
    return all(
        [
            isinstance(result.experiment["backbone"], str),
            isinstance(result.experiment["training"]["seed"], int),
            all(isinstance(name, str) for name in _task_names(result)),
            result.metrics[result.split] and result.metrics["validation"],
            isinstance(result.averages["validation"], float),
            min(result.trained, result.total) > 0 <= min(result.bytes, *vars(result.cost).values()),
            all(0 < rows[split] <= available[split] for split in {"train", result.split, *rows}),
        ]
    )


def _shown_numbers(result: Result) -> list[Any]:
    """Return the numbers of a result that tables and figures show.

    Raises:
        KeyError, TypeError, AttributeError: one is missing.
    """
    names = result.metrics["validation"]
    ends = [end for name, (low, high) in result.intervals.items() if _column_of(result, name) for end in (low, high)]
    of_run = [result.trained, result.total, result.bytes, *result.by_kind.values(), *vars(result.cost).values()]
    history = [entry[name] for entry in result.history for name in ("step", *names)]
    return [*_scores_by_column(result).values(), *names.values(), *ends, *of_run, *history]
