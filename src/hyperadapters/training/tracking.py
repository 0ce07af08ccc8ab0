"""Trackers of experiments (TensorBoard, W&B, MLflow, trackio), through Accelerate's one interface to them."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, get_available_trackers

from hyperadapters._utils import InputError, neighbours

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
"""By the name of tracker and package."""

PROJECT = "hyperadapters"
"""What trackers file runs under."""


def check_trackers(track: Sequence[str | GeneralTracker]) -> None:
    """Refuse trackers that are unknown or not installed.

    Raises:
        InputError: names them, with what to install.
    """
    names = [name for name in track if isinstance(name, str)]
    unknown = [name for name in names if name not in TRACKERS]
    if unknown:
        raise InputError(f"--track {unknown[0]}: no such tracker. {neighbours(unknown[0], TRACKERS)}")
    present = {str(tracker.value) for tracker in get_available_trackers()}
    missing = [name for name in names if name not in present]
    if missing:
        raise InputError(f"--track {','.join(missing)}: not installed. pip install {' '.join(missing)}")


@contextmanager
def tracked(
    track: Sequence[str | GeneralTracker], name: str, config: Mapping[str, Any], folder: Path
) -> Generator[list[GeneralTracker]]:
    """Trackers of one run, started by the first process, told the configuration, and finished at the end.

    Args:
        track: names out of `TRACKERS`, or trackers of your own, built on `accelerate.tracking.GeneralTracker`.
        name: the run's.
        config: nested; trackers get it flat, as `training.lr`.
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
    accelerator.init_trackers(PROJECT, dict(flat(config)), init_kwargs=named)
    try:
        yield accelerator.trackers
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def flat(values: Mapping[str, Any], before: str = "") -> Generator[tuple[str, str | float]]:
    """Nested values as `a.b`, value; what is neither text nor a number becomes text."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value if isinstance(value, (str, int, float)) else str(value)


def log_metrics(trackers: Sequence[GeneralTracker], values: Mapping[str, float], step: int) -> None:
    """Log numbers at a step."""
    for tracker in trackers:
        tracker.log(dict(values), step=step)
