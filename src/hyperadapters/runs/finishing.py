"""The end of a run: its adapter is saved, its result written."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from accelerate.tracking import GeneralTracker

from hyperadapters._utils import library_versions, process_state, short_names, write_json
from hyperadapters.backbones import device_of
from hyperadapters.delta import Delta
from hyperadapters.methods import count_parameters
from hyperadapters.runs.baselines import _find_baselines
from hyperadapters.runs.data_checksums import _checksums_by_task
from hyperadapters.runs.display_names import label_of
from hyperadapters.runs.experiment import Experiment
from hyperadapters.runs.result import RESULT, Result
from hyperadapters.runs.task_choice import task_name
from hyperadapters.tasks import OF_PROBABILITIES, bootstrap
from hyperadapters.training import (
    CHECKPOINT,
    STATES,
    Cost,
    Data,
    Evaluation,
    FitResult,
    Mixture,
    Scores,
    log_metrics,
    metrics_of,
    tasks_of,
)

_BOOTSTRAP_ROWS = 5000
"""The most test rows for which a score's interval is found by bootstrap; with more it is narrow."""


def finish_run(
    experiment: Experiment,
    delta: Delta,
    data: Data | Mixture,
    output: Path,
    fitted: FitResult,
    scores: Mapping[str, Scores],
    cost: Cost,
    *,
    trackers: Sequence[GeneralTracker] = (),
    together: int = 1,
) -> Result:
    """Tell the trackers how a trained Delta scored, save it, write its result and delete the checkpoint, in this order.

    The result is written after the adapter: where there is a result, the run is complete. Of several processes, the
    main one writes.

    Args:
        experiment: what was run.
        delta: trained, with its best weights.
        data: what it was trained on.
        output: the run's folder.
        fitted: what `fit` returned.
        scores: by split, each split but the training rows.
        cost: of one training step, in bytes and seconds.
        trackers: what follows the run.
        together: how many runs were trained in one pass.

    Returns:
        What was written.
    """
    result = _summarize(experiment, delta, data, fitted, scores, cost, together)
    _log_best(trackers, result)
    if process_state().is_main_process:
        delta.about["scores"] = result.metrics
        delta.about["data"] = {**delta.about.get("data", {}), **_checksums_by_task(experiment.task)}
        delta.save(output)
        write_json(output / RESULT, asdict(result))
        (output / CHECKPOINT).unlink(missing_ok=True)
        shutil.rmtree(output / STATES, ignore_errors=True)
    return result


def _summarize(
    experiment: Experiment,
    delta: Delta,
    data: Data | Mixture,
    fitted: FitResult,
    scores: Mapping[str, Scores],
    cost: Cost,
    together: int = 1,
) -> Result:
    """Return the result of a run; the arguments are those of `finish_run`."""
    counted, tasks = count_parameters(delta), tasks_of(data)
    reported = "test" if "test" in scores else "validation"
    return Result(
        experiment=experiment.to_json(),
        method=label_of(experiment.method),
        task=task_name(experiment.task),
        metrics={split: found.metrics for split, found in scores.items()},
        averages={split: found.mean for split, found in scores.items()},
        intervals=_bootstrap_intervals(data, scores, experiment.evaluation),
        baselines=_find_baselines(experiment),
        constant_answer=_constant_answer(scores[reported].answers),
        invalid={split: found.invalid for split, found in scores.items()},
        decode=next(iter(scores.values())).decode,
        trained=counted.trained,
        total=counted.total,
        percent=counted.percent,
        by_kind=counted.by_kind,
        bytes=counted.bytes,
        rows=_sum_counts({split: len(rows) for split, rows in task.splits.items()} for task in tasks),
        rows_available=_sum_counts(task.available for task in tasks),
        rows_left_out=_sum_counts(task.left_out for task in tasks),
        truncated=_sum_counts(task.truncated for task in tasks),
        truncated_targets=_sum_counts(task.truncated_targets for task in tasks),
        unwritable_targets=_sum_counts(task.unwritable_targets for task in tasks),
        seconds=fitted.seconds,
        cost=cost,
        steps=fitted.steps,
        best_step=fitted.best_step,
        tokens=fitted.tokens,
        padded_tokens=fitted.padded_tokens,
        compilations=fitted.compilations,
        together=together,
        history=fitted.history,
        device=str(device_of(delta.backbone).type),
        versions=library_versions(),
    )


def _constant_answer(answers: Sequence[str]) -> str:
    """Return the answer that all rows got; empty where there is one row or answers differ."""
    return answers[0] if len(answers) > 1 and len({*answers}) == 1 else ""


def _sum_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of each split's counts over all tasks."""
    total: Counter[str] = Counter()
    for of_task in counts:
        total.update(of_task)
    return dict(total)


def _bootstrap_intervals(
    data: Data | Mixture, scores: Mapping[str, Scores], evaluation: Evaluation
) -> dict[str, list[float]]:
    """Return the 95 % interval of each metric over resampled rows of a task's reported split, if these are few enough.

    Metrics of probabilities have none, because the answers alone are kept; nor have those of a library or of the user's
    own, which may take long for each of a thousand samples.

    Args:
        data: what was scored.
        scores: by split; answers are of all its rows, one task after the other.
        evaluation: says which metric chose the weights, beside the tasks' own.

    Returns:
        Lower and upper end, by the metric's name; in a mixture by `task.metric`.
    """
    names = short_names([task.form.name for task in tasks_of(data)])
    slow = {evaluation.metric.partition(":")[2], "rouge_l", "bleu"}
    found = {}
    for split, scored in scores.items():
        start = 0
        for task in [task for task in tasks_of(data) if split in task.splits]:
            references = task.references[split]
            texts = scored.answers[start : start + len(references)]
            start += len(references)
            reported = "test" if "test" in task.splits else "validation"
            if split == reported and len(references) <= _BOOTSTRAP_ROWS:
                prefix = f"{names[task.form.name]}." if isinstance(data, Mixture) else ""
                predictions = [task.form.target.decode(text) for text in texts]
                for metric in metrics_of(task, evaluation):
                    if metric in OF_PROBABILITIES or metric.__name__ in slow:
                        continue
                    found[f"{prefix}{metric.__name__}"] = list(bootstrap(metric, predictions, references))
    return found


def _log_best(trackers: Sequence[GeneralTracker], result: Result) -> None:
    """Tell the trackers of a run how its best weights scored."""
    best = {f"best/{split}/{name}": value for split, found in result.metrics.items() for name, value in found.items()}
    log_metrics(trackers, {**best, "score": result.score}, result.steps)
