"""Experiments that a sweep can run in seconds."""

import json
from dataclasses import replace

from tiny_encoders import tiny_encoder

from hyperadapters import METHODS, Experiment, FilesTask, Training
from hyperadapters.sweeps.attempts import _attempt


def rows(folder, count=24):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"t": f"word {i}", "a": "ab"[i % 2]}) + "\n" for i in range(count)))
    return FilesTask(train=str(path), validation=str(path), text=("t",), answer="a", answers="label")


def backbone(folder):
    """A tiny T5 in the folder: a run of it takes half as long as one of the package's."""
    place = folder / "backbone"
    return str(place if place.is_dir() else tiny_encoder(place, "t5"))


def experiment(folder, **changes):
    training = Training(lr=1e-3, epochs=1, batch_size=8, checkpoint_seconds=0.05)
    base = Experiment(method=METHODS["compacter++"], task=rows(folder), training=training, backbone=backbone(folder))
    return replace(base, training=replace(training, **changes))


def here(jobs, progress):
    """The executor that runs jobs in this process."""
    for job in jobs:
        progress.started(job.key)
        yield _attempt(job)


def unused(jobs, progress):
    """An executor that must get nothing to do."""
    assert not jobs
    yield from ()


PROGRAM = """
from pathlib import Path
import json
from hyperadapters import Experiment

def experiments():
    return [Experiment.from_json(item) for item in json.loads(Path(__file__).with_suffix(".json").read_text())]
"""


def program(folder, runs):
    """A sweep's file that returns these runs."""
    path = folder / "runs.py"
    path.write_text(PROGRAM)
    path.with_suffix(".json").write_text(json.dumps([run.to_json() for run in runs]))
    return path
