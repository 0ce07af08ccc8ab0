"""Many experiments, each in its folder; those that are done are not done again."""

from collections.abc import Mapping
from pathlib import Path

from hyperadapters import files
from hyperadapters.experiment import Experiment
from hyperadapters.measure import parameters_of
from hyperadapters.progress import console
from hyperadapters.run import EXPERIMENT, RESULT, Result, run

SWEEP = "sweep.json"


def sweep(
    experiments: Mapping[str, Experiment], folder: Path, *, resume: bool = False, quiet: bool = False
) -> list[Result]:
    """Run experiments one after the other, each in `folder/name`.

    With `resume`, finished ones are read from their files and the one that was interrupted goes on.

    Raises:
        InputError: the folder holds something else, or one of the experiments is wrong.
    """
    files.check_output(folder, resume=resume, marker=SWEEP)
    for experiment in experiments.values():
        parameters_of(experiment.backbone, experiment.method)  # refuses a method that does not fit, before any run
    files.make_output(folder)
    files.write_json(folder / SWEEP, {name: experiment.to_json() for name, experiment in experiments.items()})
    results = []
    for number, (name, experiment) in enumerate(experiments.items(), 1):
        place = folder / name
        done = (place / RESULT).exists()
        if not quiet:
            console.print(f"[{number}/{len(experiments)}] {name}{' (done)' if done else ''}", markup=False)
        results.append(run(experiment, place, resume=resume and (place / EXPERIMENT).exists(), quiet=quiet))
    return results
