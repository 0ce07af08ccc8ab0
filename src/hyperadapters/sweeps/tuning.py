"""`tune(experiment, folder)`: race learning rates, and train with the winner."""

import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, Interrupted, check_output, expand_path, make_output, read_json, write_json
from hyperadapters.runs import (
    RESULT,
    Experiment,
    Result,
    check_experiment,
    check_same_settings,
    identity_of,
    read_result,
    with_checksums,
)
from hyperadapters.sweeps.attempts import _attempt
from hyperadapters.sweeps.jobs import _Job, _Report
from hyperadapters.sweeps.progress import _Progress
from hyperadapters.sweeps.racing import race

_TUNE = "tune.json"
"""What a folder holds whose learning rate was raced: the experiment, the rates, and what came of them."""

_RUNS = "tune"
"""The folder in it that holds the runs of the race."""

_FACTORS = (0.1, 0.32, 1.0, 3.2, 10.0)
"""The rates that are raced are these times the experiment's: half a decade apart."""


def tune(
    experiment: Experiment,
    output: str | Path,
    *,
    rates: Sequence[float] = (),
    resume: bool = False,
    quiet: bool = False,
) -> Result:
    """Race learning rates by their validation scores, and train with the one that wins.

    Five rates cost the steps of about two runs (`race`), trained in one pass where runs can be packed. The test split
    is scored once, for the winner. The folder then holds what `run` writes, and `tune.json`.

    Args:
        experiment: to tune; the rates are around its own unless they are given.
        output: a new or empty folder; to resume, the one of the same experiment and rates.
        rates: the learning rates to race; none: a tenth to ten times the experiment's, in half decades.
        resume: go on where it was stopped; runs that failed are tried again.
        quiet: show nothing.

    Raises:
        InputError: something given is wrong, and nothing is written; or every rate fails.
        Interrupted: Ctrl-C; with `resume` nothing is lost.
    """
    output = expand_path(output)
    experiment = with_checksums(experiment)
    rates = rates or [float(f"{factor * experiment.training.lr:.2g}") for factor in _FACTORS]
    if len({*rates}) < max(2, len(rates)):
        raise InputError(f"rates {', '.join(f'{rate:g}' for rate in rates)}: give two or more, each once.")
    field = [replace(experiment, training=replace(experiment.training, lr=rate)) for rate in rates]
    asked = {"experiment": identity_of(experiment), "rates": [*rates]}
    check_output(output, resume=resume, marker=_TUNE)
    if resume and (output / _TUNE).exists():
        _check_same(output, asked)
        if (output / RESULT).exists():
            return read_result(output)
    check_experiment(experiment)
    make_output(output)
    write_json(output / _TUNE, asked)
    how: dict[str, Any] = {"executor": _in_this_process, "pack": 1, "keep": True, "retry": resume, "quiet": quiet}
    try:
        found = race(field, output / _RUNS, **how)
    except KeyboardInterrupt as error:
        raise Interrupted from error
    if not found.swept.results:
        raise InputError("; ".join(found.swept.failed.values()))
    (key,) = found.swept.results
    (one,) = found.races
    outcome = {"steps": one.steps, "grid_steps": one.grid_steps, "winner": one.experiment.training.lr}
    write_json(output / _TUNE, {**asked, **outcome, "stops": [vars(stop) for stop in one.stops]})
    _move_run(output / _RUNS / key, output)
    shutil.rmtree(output / _RUNS)
    return read_result(output)


def _check_same(output: Path, asked: Mapping[str, Any]) -> None:
    """Raise InputError, naming what differs, unless a folder holds the race that is asked for."""
    known = read_json(output / _TUNE)
    check_same_settings(output, known.get("experiment", {}), asked["experiment"])
    if known.get("rates") != asked["rates"]:
        there, now = (", ".join(f"{rate:g}" for rate in rates) for rates in (known.get("rates", ()), asked["rates"]))
        raise InputError(f"{output} holds a race of the rates {there}, not {now}: name another folder.")


def _move_run(place: Path, output: Path) -> None:
    """Move the files of a run into another folder, its result last: where there is a result, the rest is there."""
    names = sorted((path.name for path in place.iterdir() if path.is_file()), key=lambda name: name == RESULT)
    for name in names:
        shutil.move(place / name, output / name)


def _in_this_process(jobs: Sequence[_Job], progress: _Progress) -> Generator[_Report]:
    """Carry jobs out one after the other in this process.

    Raises:
        KeyboardInterrupt: Ctrl-C; checkpoints were written.
    """
    for job in jobs:
        progress.started(job.key)
        report = _attempt(job)
        if report.outcome == "stopped":
            raise KeyboardInterrupt
        yield report
