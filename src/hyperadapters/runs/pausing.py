"""Runs that are trained in parts: up to a share of their steps, and later on from there, to the same bits."""

import math
from dataclasses import asdict
from pathlib import Path

from hyperadapters._utils import InputError, read_json, settings, write_json
from hyperadapters.runs.data_checksums import with_checksums
from hyperadapters.runs.experiment import Experiment
from hyperadapters.runs.result import Result
from hyperadapters.runs.running import _locked_run_folder, _prepare
from hyperadapters.training import Standing, Trainer

STANDINGS = "standings.json"
"""The file in a run's folder with its standings, by the share of steps after which it was paused."""


def train_until(experiment: Experiment, output: Path, share: float, states: Path | None = None) -> Standing | None:
    """Train a run up to a share of its steps, and leave a checkpoint from which `run(resume=True)` continues.

    The validation split is scored there, which changes nothing: the run ends with the bits that it would have had.

    Args:
        experiment: what to run.
        output: its folder, new or with the checkpoint of this run.
        share: of all steps, more than 0 and less than 1; the step is rounded up.
        states: as for `run`.

    Returns:
        How it stands; None: it ended before, out of patience, and `run(resume=True)` writes its result.

    Raises:
        InputError: as `run`.
        Interrupted: Ctrl-C; a checkpoint was written.
    """
    experiment, data, delta = _prepare(with_checksums(experiment))
    with _locked_run_folder(output, experiment, resume=True):
        trainer = Trainer(delta, data, experiment.training, experiment.evaluation, output, quiet=True, states=states)
        trainer.pause_at(share)
        trainer.run(resume=True)
        if trainer.standing:
            record_standing(output, share, trainer.standing)
        return trainer.standing


def record_standing(output: Path, share: float, standing: Standing) -> None:
    """Write how a run stands that was paused, beside its earlier standings.

    Args:
        output: its folder.
        share: of its steps, after which it was paused.
        standing: what was found.
    """
    path = output / STANDINGS
    known = read_json(path) if path.exists() else {}
    write_json(path, {**known, f"{share:g}": asdict(standing)})


def standing_of(output: Path, share: float) -> Standing | None:
    """Return how a run stood when it was paused after a share of its steps; None: it was not paused there.

    Raises:
        InputError: the file that says so is damaged.
    """
    path = output / STANDINGS
    found = read_json(path).get(f"{share:g}") if path.exists() else None
    if found is None:
        return None
    try:
        return settings.parse(Standing, found, "")
    except InputError as error:
        raise InputError(f"{path} is damaged: delete it, and the run is raced again.\n  {error}") from error


def standing_before(result: Result, share: float) -> Standing:
    """Return how a run that has ended stood after a share of its steps, where it was not paused: by its evaluations.

    Args:
        result: of a run that was not paused there, or ended before, out of patience.
        share: of the steps that were planned.
    """
    training, last = result.experiment["training"], result.history[-1]
    by_epochs = max(training["min_steps"], math.ceil(training["epochs"] * last["step"] / last["epoch"]))
    total = training["steps"] or by_epochs
    until = [entry for entry in result.history if entry["step"] <= math.ceil(share * total)] or result.history[:1]
    score = max(entry["rank"] for entry in until)
    return Standing(step=until[-1]["step"], total=total, score=score, loss=until[-1]["loss"])
