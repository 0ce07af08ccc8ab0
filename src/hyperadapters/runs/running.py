"""`run(Experiment) -> Result`: the whole story on one page."""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.tracking import GeneralTracker
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hyperadapters._utils import InputError, console, files, library_versions, short_names
from hyperadapters.backbones import BackboneKind, default_device, device_of, kind_of, load_backbone
from hyperadapters.delta import Delta, Method, attach
from hyperadapters.runs.display_names import label_of
from hyperadapters.runs.experiment import EXPERIMENT, Experiment
from hyperadapters.runs.result import RESULT, Result, read_result
from hyperadapters.runs.task_choice import MixtureTask, NamedTask, task_definitions, task_name
from hyperadapters.runs.warm_start import load_warm_start
from hyperadapters.tasks import TASKS, TaskFormat, bootstrap
from hyperadapters.training import (
    CHECKPOINT,
    ENCODINGS,
    Cost,
    Data,
    FitResult,
    Mixture,
    Scores,
    check_fit,
    check_trackers,
    evaluate,
    fit,
    load_data,
    log_metrics,
    measure,
    parameters,
    tasks_of,
    tracked,
)


def run(
    experiment: Experiment,
    output: str | Path,
    *,
    resume: bool = False,
    track: Sequence[str | GeneralTracker] = (),
    quiet: bool = False,
) -> Result:
    """Load, attach (or go on from a trained adapter), train, keep the best on validation, test once, save.

    The output folder then holds the adapter, `experiment.json` and `result.json`. A finished run that is resumed
    returns its result at once. `track` names what follows it (`tracking.TRACKERS`), or holds trackers of your own.

    Raises:
        InputError: something given is wrong; nothing is half-written then.
        Interrupted: Ctrl-C; a checkpoint was written, and resuming ends with the same adapter.
    """
    check_trackers(track)
    output = Path(output)
    main = PartialState().is_main_process
    files.check_output(output, resume=resume, marker=EXPERIMENT)
    PartialState().wait_for_everyone()
    if resume and (output / EXPERIMENT).exists():
        check_same_experiment(output, experiment)
        if (output / RESULT).exists():
            return read_result(output)
    backbone, tokenizer = backbone_for(experiment)
    kind = kind_of(backbone.config)
    data = load_task(experiment, tokenizer, kind)
    torch.manual_seed(experiment.training.seed)
    delta = attach_for(experiment, backbone, data)
    check_fit(delta, data, experiment.training)
    with (
        locked_run_folder(output, experiment, resume=resume) if main else nullcontext(),
        tracked(track, output.name, experiment.to_json(), output) as trackers,
    ):
        for part in tasks_of(data):
            report_truncation(part, quiet=quiet or not main)
        fitted = fit(
            delta,
            data,
            experiment.training,
            evaluation=experiment.evaluation,
            output=output,
            resume=resume,
            trackers=trackers,
            quiet=quiet,
        )
        result = evaluate_run(delta, data, experiment, fitted, quiet=quiet or not main)
        log_result(trackers, result)
        if main:
            delta.about["scores"] = result.metrics
            delta.save(output)
            files.write_json(output / RESULT, asdict(result))
            (output / CHECKPOINT).unlink(missing_ok=True)
    PartialState().wait_for_everyone()
    return result


@contextmanager
def locked_run_folder(output: Path, experiment: Experiment, *, resume: bool) -> Iterator[None]:
    """Be the one process at work in a run's folder, which says whose it is.

    Raises:
        InputError: it cannot be written, another process is at work in it, or has filled it meanwhile.
    """
    files.make_output(output)
    with files.alone_in(output):
        files.check_output(output, resume=resume, marker=EXPERIMENT)
        files.write_json(output / EXPERIMENT, experiment.to_json())
        yield


def log_result(trackers: Sequence[GeneralTracker], result: Result) -> None:
    """Tell what follows a run how its best weights scored."""
    best = {f"best/{split}/{name}": value for split, found in result.metrics.items() for name, value in found.items()}
    log_metrics(trackers, {**best, "score": result.score}, result.steps)


def evaluate_run(
    delta: Delta, data: Data | Mixture, experiment: Experiment, fitted: FitResult, *, quiet: bool
) -> Result:
    """What a trained Delta scores, once on each split, and costs."""
    splits = list(dict.fromkeys(split for part in tasks_of(data) for split in part.splits if split != "train"))
    scores = {split: evaluate(delta, data, split, experiment.evaluation, quiet=quiet) for split in splits}
    training = experiment.training
    cost = measure(delta, data, batch_size=training.batch_size, precision=training.precision)
    result = summarize(experiment, delta, fitted, scores, cost, data)
    return replace(result, intervals=intervals(data, result.split, scores[result.split]))


def backbone_for(experiment: Experiment) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The backbone of a run, in the type that the run holds it in, and its tokenizer.

    Raises:
        InputError: as `load_backbone`.
    """
    gc.collect()  # an earlier run's backbone and Delta know each other, and would stay in memory beside this one's
    precision = experiment.training.backbone_precision
    return load_backbone(experiment.backbone, precision=precision, device=default_device())


def load_task(experiment: Experiment, tokenizer: Any, kind: BackboneKind) -> Data | Mixture:
    """The rows of an experiment's task, or of all of its mixture.

    Raises:
        InputError: as `load_data` and `Mixture`.
    """
    tasks, folder = task_definitions(experiment.task)
    seed = experiment.training.seed
    mixed = isinstance(experiment.task, MixtureTask)
    found = tuple(
        load_data(task, tokenizer, folder, experiment.text, kind=kind, seed=seed, at_most=mixed) for task in tasks
    )
    return Mixture(found, experiment.task.temperature) if isinstance(experiment.task, MixtureTask) else found[0]


def attach_for(experiment: Experiment, backbone: nn.Module, data: Data | Mixture) -> Delta:
    """A Delta for this data, which says what prediction needs to know of its task or tasks.

    Raises:
        InputError: as `attach`; the method may hold one task alone. Of a run that goes on from another, as `started`.
    """
    forms = {part.form.name: format_to_json(part.form, experiment) for part in tasks_of(data)}
    tasks = list(forms) if isinstance(data, Mixture) else []
    first = tasks_of(data)[0]
    name = task_name(experiment.task).replace(".", "-")
    outputs = ENCODINGS[first.kind].outputs(first.form)
    precision = experiment.training.adapter_precision
    if experiment.start:
        return load_warm_start(
            experiment.start, backbone, experiment.method, name, outputs=outputs, forms=forms, precision=precision
        )
    delta = attach(backbone, experiment.method, name=name, outputs=outputs, tasks=tasks, precision=precision)
    delta.about = {"forms": forms} if tasks else {"task": forms[first.form.name]}
    return delta


def narrow_to_task(experiment: Experiment, task: str, method: Method) -> Experiment:
    """What to know of one of the tasks of a run's adapter: its rows, text, decoding; of training rows, all.

    Raises:
        InputError: the task was trained from own files in an earlier run, whose place this one does not know.
    """
    of_run = experiment.task
    data = of_run.data if isinstance(of_run, NamedTask | MixtureTask) else None
    if data is not None or task_name(of_run) != task:
        if task not in TASKS:
            raise InputError(
                f"where the rows of {task} lie only the run knows that was trained on them: {task_name(of_run)} went "
                "on from its adapter. Name that run's folder."
            )
        of_run = NamedTask(name=task, data=data or "")
    text = replace(experiment.text, train_rows=None)
    return replace(experiment, method=method, task=of_run, text=text, start=None)


def sum_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Rows by split, of all tasks together."""
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)
    return dict(total)


FEW_ROWS = 5000
"""Up to so many test rows, a score's interval is found by bootstrap; with more it is narrow."""


def intervals(data: Data | Mixture, split: str, found: Scores) -> dict[str, list[float]]:
    """The 95 % interval of each metric over resampled rows of a split, where it is small."""
    parts = [part for part in tasks_of(data) if split in part.splits]
    names = short_names([part.form.name for part in tasks_of(data)])
    result, start = {}, 0
    for part in parts:
        references, answers = part.references[split], found.answers[start : start + len(part.references[split])]
        start += len(references)
        if len(references) <= FEW_ROWS:
            before = f"{names[part.form.name]}." if isinstance(data, Mixture) else ""
            predictions = [part.form.target.decode(text) for text in answers]
            for metric in part.metrics:
                result[f"{before}{metric.__name__}"] = list(bootstrap(metric, predictions, references))
    return result


def report_truncation(data: Data, *, quiet: bool) -> None:
    """Report sources and targets that were cut."""
    text = data.text
    counted = (("source", data.truncated, text.source_length), ("target", data.truncated_targets, text.target_length))
    for side, counts, limit in counted:
        cut = {split: count for split, count in counts.items() if count}
        if cut and not quiet:
            parts = ", ".join(f"{count} of {len(data.splits[split])} in {split}" for split, count in cut.items())
            what = f"{data.form.name}: {side}s longer than {limit} tokens were cut"
            console.print(f"{what}: {parts} (--set text.{side}_length={2 * limit})")


def check_same_experiment(output: Path, experiment: Experiment) -> None:
    """Raise InputError, with what differs, unless the folder holds a run of this experiment."""
    there, here = files.read_json(output / EXPERIMENT), experiment.to_json()
    if there != here:
        differing = [
            f"{section}: {there.get(section)} there, {here.get(section)} now"
            for section in {**here, **there}
            if there.get(section) != here.get(section)
        ]
        raise InputError(f"{output} holds a run of another experiment:\n  " + "\n  ".join(differing))


def format_to_json(form: TaskFormat, experiment: Experiment) -> dict[str, Any]:
    """What prediction with the saved adapter needs to know of the task."""
    text, evaluation = experiment.text, experiment.evaluation
    return {
        **form.to_json(),
        "source_length": text.source_length,
        "target_length": text.target_length,
        "prefix": text.prefix,
        "decode": evaluation.decode,
        "beams": evaluation.beams,
    }


def summarize(
    experiment: Experiment,
    delta: Delta,
    fitted: FitResult,
    scores: dict[str, Scores],
    cost: Cost,
    data: Data | Mixture,
) -> Result:
    """Everything worth keeping of a run."""
    counted = parameters(delta)
    return Result(
        experiment=experiment.to_json(),
        method=label_of(experiment.method),
        task=task_name(experiment.task),
        metrics={split: found.metrics for split, found in scores.items()},
        invalid={split: found.invalid for split, found in scores.items()},
        decode=next(iter(scores.values())).decode,
        trained=counted.trained,
        total=counted.total,
        percent=counted.percent,
        by_kind=counted.by_kind,
        bytes=counted.bytes,
        seconds=fitted.seconds,
        cost=cost,
        steps=fitted.steps,
        best_step=fitted.best_step,
        tokens=fitted.tokens,
        padded_tokens=fitted.padded_tokens,
        truncated=sum_counts(part.truncated for part in tasks_of(data)),
        truncated_targets=sum_counts(part.truncated_targets for part in tasks_of(data)),
        history=fitted.history,
        device=str(device_of(delta.backbone).type),
        versions=library_versions(),
        averages={split: found.mean for split, found in scores.items()},
        compilations=fitted.compilations,
    )
