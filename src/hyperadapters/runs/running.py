"""`run(experiment, folder) -> Result`: the whole story on one page."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from accelerate.tracking import GeneralTracker

from hyperadapters._utils import (
    CannotWriteError,
    InputError,
    NonFiniteLossError,
    alone_in,
    check_output,
    console,
    expand_path,
    listed,
    make_output,
    process_state,
    read_json,
    write_json,
)
from hyperadapters.delta import Delta
from hyperadapters.runs.building import attach_for, backbone_for, load_task
from hyperadapters.runs.data_checksums import (
    _differing_settings,
    differing_checksums,
    identity_of,
    with_checksums,
    with_labels,
)
from hyperadapters.runs.experiment import EXPERIMENT, Experiment
from hyperadapters.runs.finishing import finish_run
from hyperadapters.runs.result import RESULT, Result, read_result
from hyperadapters.runs.sources import check_sources
from hyperadapters.training import (
    Data,
    Evaluation,
    Mixture,
    Scores,
    check_fit,
    check_metric,
    check_trackers,
    evaluate,
    fit,
    measure,
    tasks_of,
    tracked,
    training_backbone,
)


def run(
    experiment: Experiment,
    output: str | Path,
    *,
    resume: bool = False,
    states: str | Path | None = None,
    track: Sequence[str | GeneralTracker] = (),
    quiet: bool = False,
) -> Result:
    """Train an adapter as an experiment says, keep the weights that are best on validation, test them once, save.

    The folder then holds the adapter, `experiment.json` and `result.json`.

    Args:
        experiment: backbone, method, task and every setting.
        output: a new or empty folder; to resume, the one of the run that was interrupted.
        resume: go on from the checkpoint in the folder, to the same adapter bit for bit; the result of a finished run
            is returned at once. Without a run in the folder, one begins: a script that is started again does not
            have to know. (The command line refuses: there a folder that is not there is a slip.)
        states: folder in which states of frozen layers are kept for other runs, if `training.reuse` says so; None: in
            `output`, until the run has ended.
        track: trackers that follow the training: names (tensorboard, wandb, mlflow, trackio) or Accelerate's objects.
        quiet: show no progress.

    Returns:
        Scores, parameters, memory and time, as `result.json` has them.

    Raises:
        InputError: something given is wrong, or another process works in the folder; nothing is half-written.
        Interrupted: Ctrl-C; a checkpoint was written.
    """
    output, main = expand_path(output), process_state().is_main_process
    experiment = with_checksums(experiment)
    check_trackers(track)
    check_output(output, resume=resume, marker=EXPERIMENT)
    process_state().wait_for_everyone()
    if resume and (output / EXPERIMENT).exists():
        _check_same_experiment(output, experiment)
        if (output / RESULT).exists():
            return read_result(output)
    check_sources([experiment])
    experiment, data, delta = _prepare(experiment)
    with (
        _locked_run_folder(output, experiment, resume=resume) if main else nullcontext(),
        tracked(track, output.name, experiment.to_json(), output) as trackers,
    ):
        if main and not quiet:
            _report_truncation(data)
        training, evaluation = experiment.training, experiment.evaluation
        fitted = fit(
            delta,
            data,
            training,
            evaluation=evaluation,
            output=output,
            resume=resume,
            states=states,
            trackers=trackers,
            quiet=quiet,
        )
        scores = _evaluate_splits(delta, data, evaluation, fitted.best_scores, quiet=quiet or not main)
        with training_backbone(delta.backbone, training):
            cost = measure(delta, data, batch_size=training.batch_size, precision=training.precision)
        result = finish_run(experiment, delta, data, output, fitted, scores, cost, trackers=trackers)
    process_state().wait_for_everyone()
    return result


def _prepare(experiment: Experiment) -> tuple[Experiment, Data | Mixture, Delta]:
    """Load backbone and rows and attach the adapter; return them with the experiment, which now states the labels.

    Raises:
        InputError: they do not go together.
    """
    backbone, tokenizer = backbone_for(experiment)
    data = load_task(experiment, tokenizer, backbone)
    experiment = with_labels(experiment, data)
    torch.manual_seed(experiment.training.seed)
    delta = attach_for(experiment, backbone, data)
    check_fit(delta, data, experiment.training)
    check_metric(data, experiment.evaluation)
    return experiment, data, delta


def _check_same_experiment(output: Path, experiment: Experiment) -> None:
    """Raise InputError, naming each setting that differs, unless the folder holds a run of this experiment.

    The data may have been moved; their checksums tell whether they are the same.
    """
    known = Experiment.from_json(read_json(output / EXPERIMENT))
    changed = differing_checksums(known.task.checksums, experiment.task.checksums)
    if changed:
        raise InputError(f"{output} holds a run of other data:\n  " + listed(changed))
    check_same_settings(output, identity_of(known), identity_of(experiment))


def check_same_settings(output: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise InputError, naming each setting that differs, unless two experiments are one.

    Args:
        output: the folder that holds the run or the race of the first.
        then: what `identity_of` gave of it.
        now: what it gives of the other.
    """
    if differing := _differing_settings(then, now):
        hint = "Give the settings of that run, or another --output."
        raise InputError(f"{output} holds a run of another experiment:\n  {listed([*differing, hint], most=30)}")


def check_experiment(experiment: Experiment) -> None:
    """Raise InputError for what is wrong with an experiment, as `run` does before it trains; nothing is written.

    The backbone and the rows are loaded for it, and let go.
    """
    check_sources([experiment])
    _prepare(experiment)


@contextmanager
def _locked_run_folder(output: Path, experiment: Experiment, *, resume: bool) -> Iterator[None]:
    """Keep other processes out of a run's folder, and write there which experiment it holds.

    A run that is refused before it has written anything else takes that back.

    Raises:
        InputError: it cannot be written, another process works in it, or has filled it meanwhile.
    """
    made = [folder for folder in (output, *output.absolute().parents) if not folder.exists()]
    make_output(output)
    try:
        with alone_in(output):
            check_output(output, resume=resume, marker=EXPERIMENT)
            begins = not (output / EXPERIMENT).exists()
            write_json(output / EXPERIMENT, experiment.to_json())
            try:
                yield
            except (CannotWriteError, NonFiniteLossError):  # it had begun
                raise
            except InputError:
                if begins and not [path for path in output.glob("[!.]*") if path.name != EXPERIMENT]:
                    (output / EXPERIMENT).unlink()
                raise
    except InputError:
        with suppress(OSError):  # it is not empty
            for folder in made:
                folder.rmdir()
        raise


def _evaluate_splits(
    delta: Delta, data: Data | Mixture, evaluation: Evaluation, validation: Scores | None, *, quiet: bool
) -> dict[str, Scores]:
    """Return the scores of a trained Delta on each split but the training rows.

    Args:
        delta: with its best weights.
        data: what it was trained on.
        evaluation: how answers are obtained.
        validation: what these weights scored on validation in training, if that is known.
        quiet: show no progress.
    """
    splits = dict.fromkeys(split for task in tasks_of(data) for split in task.splits if split != "train")
    known = {"validation": validation} if validation else {}
    return {split: known.get(split) or evaluate(delta, data, split, evaluation, quiet=quiet) for split in splits}


def _report_truncation(data: Data | Mixture) -> None:
    """Say how many sources and targets were cut, and which setting takes longer ones."""
    for task in tasks_of(data):
        text = task.text
        sides = (
            ("source", task.truncated, text.source_length),
            ("target", task.truncated_targets, text.target_length),
        )
        for side, counts, limit in sides:
            cut = [f"{count} of {len(task.splits[split])} in {split}" for split, count in counts.items() if count]
            if cut:
                console.print(
                    f"{task.form.name}: {side}s longer than {limit} tokens were cut: {', '.join(cut)} "
                    f"(--set text.{side}_length={2 * limit})"
                )
