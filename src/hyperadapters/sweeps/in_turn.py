"""Experiments one after the other in this process."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hyperadapters._utils import check_output, console, expand_path, make_output, write_json
from hyperadapters.delta import method_to_json
from hyperadapters.methods import count_parameters
from hyperadapters.runs import EXPERIMENT, RESULT, Experiment, MixtureTask, Result, check_sources, run
from hyperadapters.training import STATES, check_trackers

_SWEEP = "sweep.json"


def run_in_turn(
    experiments: Mapping[str, Experiment],
    folder: Path,
    *,
    resume: bool = False,
    track: Sequence[str] = (),
    quiet: bool = False,
) -> list[Result]:
    """Run experiments one after the other in this process, each in `folder/name`, and show each one's training.

    Args:
        experiments: by the name that its result's `method` gets.
        folder: new or empty; to resume, the one of the same experiments.
        resume: read finished runs from their files and go on with the one that was interrupted.
        track: names of the trackers that follow each.
        quiet: show no progress.

    Raises:
        InputError: the folder holds something else, or one of the experiments is wrong.
    """
    folder = expand_path(folder)
    check_output(folder, resume=resume, marker=_SWEEP)
    check_trackers(track)
    check_sources(experiment for name, experiment in experiments.items() if not (folder / name / RESULT).exists())
    _check_methods(experiments.values())
    make_output(folder)
    write_json(folder / _SWEEP, {name: experiment.to_json() for name, experiment in experiments.items()})
    results = []
    for number, (name, experiment) in enumerate(experiments.items(), 1):
        place = folder / name
        done = (place / RESULT).exists()
        if not quiet:
            console.print(f"[{number}/{len(experiments)}] {name}{' (done)' if done else ''}")
        unfinished = resume and (place / EXPERIMENT).exists()
        result = run(experiment, place, resume=unfinished, states=folder / STATES, track=track, quiet=quiet)
        results.append(replace(result, method=name))
    shutil.rmtree(folder / STATES, ignore_errors=True)
    return results


def _check_methods(experiments: Iterable[Experiment]) -> None:
    """Raise InputError if the method of any experiment does not fit its backbone; from configurations alone."""
    counts: dict[tuple[str, str, int], Experiment] = {}
    for experiment in experiments:
        tasks = len(experiment.task.names) if isinstance(experiment.task, MixtureTask) else 1
        method = json.dumps(method_to_json(experiment.method), sort_keys=True)
        counts[experiment.backbone, method, tasks] = experiment
    for (backbone, _, tasks), experiment in counts.items():
        count_parameters(experiment.method, backbone=backbone, tasks=tasks)
