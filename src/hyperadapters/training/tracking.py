"""Experiment trackers (TensorBoard, W&B, MLflow, trackio), through Accelerate's one interface to them."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, get_available_trackers

from hyperadapters._utils import InputError, neighbours

_TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""Names of trackers, which are those of their packages."""

_PROJECT = "hyperadapters"
"""The project that trackers file runs under."""


def check_trackers(track: Sequence[str | GeneralTracker]) -> None:
    """Raise InputError if a tracker is unknown or not installed.

    Args:
        track: names out of `TRACKERS`, or trackers of your own, which are not checked.

    Raises:
        InputError: names the trackers, and what to install.
    """
    names = [name for name in track if isinstance(name, str)]
    unknown = [name for name in names if name not in _TRACKERS]
    if unknown:
        raise InputError(f"--track {unknown[0]}: no such tracker. {neighbours(unknown[0], _TRACKERS)}")
    present = {str(tracker.value) for tracker in get_available_trackers()}
    missing = [name for name in names if name not in present]
    if missing:
        raise InputError(f"--track {','.join(missing)}: not installed. pip install {' '.join(missing)}")


@contextmanager
def tracked(
    track: Sequence[str | GeneralTracker], name: str, config: Mapping[str, Any], folder: Path
) -> Generator[list[GeneralTracker]]:
    """Start the trackers of one run in the first process, log the configuration, and finish them at the end.

    Args:
        track: names out of `TRACKERS`, or trackers of your own, built on `accelerate.tracking.GeneralTracker`.
        name: the run's name.
        config: nested; trackers get it flat, with keys such as `training.lr`.
        folder: where TensorBoard writes; the others have places of their own.

    Raises:
        InputError: as `check_trackers`.
    """
    check_trackers(track)
    if not track:
        yield []
        return
    accelerator = Accelerator(mixed_precision="no", log_with=list(track), project_dir=str(folder))
    named = {"wandb": {"name": name}, "mlflow": {"run_name": name}, "trackio": {"name": name}}
    accelerator.init_trackers(_PROJECT, dict(_flatten(config)), init_kwargs=named)
    try:
        yield accelerator.trackers
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def _flatten(values: Mapping[str, Any], before: str = "") -> Generator[tuple[str, str | float]]:
    """Yield nested values as ("a.b", value); what is neither text nor a number becomes text."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value if isinstance(value, (str, int, float)) else str(value)


def log_metrics(trackers: Sequence[GeneralTracker], values: Mapping[str, float], step: int) -> None:
    """Log numbers by name, as of one training step, to started trackers."""
    for tracker in trackers:
        tracker.log(dict(values), step=step)


def _log_evaluation(trackers: Sequence[GeneralTracker], entry: Mapping[str, Any], rate: float) -> None:
    """Log an entry of a run's history, its metrics as `validation/…`, and the learning rate of its last step."""
    training = {"epoch": entry["epoch"], "loss": entry["loss"]}
    metrics = {f"validation/{name}": value for name, value in entry.items() if name not in ("step", "rank", *training)}
    log_metrics(trackers, {**training, "lr": rate, **metrics}, entry["step"])
