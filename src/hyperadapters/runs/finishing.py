"""The end of a run, alone or in a pack: its files."""

from dataclasses import asdict
from pathlib import Path

from hyperadapters._utils import files
from hyperadapters.delta import Delta
from hyperadapters.runs.result import RESULT, Result
from hyperadapters.training import CHECKPOINT


def finish_run(output: Path, delta: Delta, result: Result) -> None:
    """Save the adapter with its scores and the result into a run's folder, and remove the checkpoint.

    Args:
        output: the run's folder.
        delta: trained, its best weights in place.
        result: everything worth keeping of the run.
    """
    delta.about["scores"] = result.metrics
    delta.save(output)
    files.write_json(output / RESULT, asdict(result))
    (output / CHECKPOINT).unlink(missing_ok=True)
