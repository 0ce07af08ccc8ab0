"""Which setting of a method to report: chosen on validation alone, as a pure function of results."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from hyperadapters.run import Result

SEED = ("training", "seed")


@dataclass(frozen=True)
class Choice:
    """The setting chosen for one group of results."""

    group: str
    """What the results of the group have in common, as JSON."""
    setting: str
    """The varied fields of the best setting, as JSON."""
    validation: float
    """Its mean validation score: over tasks and seeds, each the mean of the task's metrics."""
    results: tuple[Result, ...]
    """Its runs: one for each task and seed."""
    others: Mapping[str, float]
    """The settings that lost, and their validation scores."""
    incomplete: tuple[str, ...]
    """Settings left out of the comparison: they lack runs that another setting has."""


def select(
    results: Sequence[Result], vary: Sequence[str] = ("training.lr",), *, per_task: bool = False
) -> list[Choice]:
    """For each method, the setting that is best on validation; test scores are never looked at.

    The papers choose one rate for a method over all tasks (Compacter, arXiv:2106.04647v2, appendix A). The best epoch
    of every run was chosen on validation too, when it was made.

    Args:
        results: runs that may differ in method, task, backbone, seed and settings.
        vary: paths of the settings to choose among, such as `training.lr`, `method.n`, `method.bottleneck`.
        per_task: choose for each task by itself.

    Returns:
        One choice for each group of results that are alike but for the varied settings, the seed and, unless
        `per_task`, what belongs to the task. Settings that lack a task or seed which another setting has take no part.
    """
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        groups[group_of(result, vary, per_task=per_task)].append(result)
    return [choose(group, found, vary) for group, found in groups.items()]


def choose(group: str, results: Sequence[Result], vary: Sequence[str]) -> Choice:
    """The best setting of one group."""
    settings: dict[str, dict[tuple[str, int], Result]] = defaultdict(dict)
    for result in results:
        settings[setting_of(result, vary)][case_of(result)] = result
    most = max(len(cases) for cases in settings.values())
    fullest = {setting: cases for setting, cases in settings.items() if len(cases) == most}
    common = set.intersection(*(set(cases) for cases in fullest.values())) or set(next(iter(fullest.values())))
    scores = {
        setting: mean(validation_score(cases[case]) for case in sorted(common))
        for setting, cases in fullest.items()
        if common <= set(cases)
    }
    best = max(sorted(scores), key=lambda setting: scores[setting])
    return Choice(
        group,
        best,
        scores[best],
        tuple(settings[best].values()),
        {setting: score for setting, score in scores.items() if setting != best},
        tuple(setting for setting in settings if setting not in scores),
    )


def validation_score(result: Result) -> float:
    """Mean of the task's metrics on validation, by which epochs are chosen too."""
    return mean(result.metrics["validation"].values())


def case_of(result: Result) -> tuple[str, int]:
    """The task and the seed."""
    return result.task, result.experiment["training"]["seed"]


def setting_of(result: Result, vary: Sequence[str]) -> str:
    """The varied fields, as JSON."""
    return json.dumps({path: field_of(result.experiment, path) for path in vary})


def field_of(experiment: Mapping[str, Any], path: str) -> Any:
    """A field by its path; None where the method has no such field."""
    value: Any = experiment
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


OF_THE_TASK = ("task", "text", "training.epochs", "training.batch_size", "training.warmup_steps", "evaluation")
"""What a recipe sets for each task."""


def group_of(result: Result, vary: Sequence[str], *, per_task: bool) -> str:
    """The experiment without what is varied, without the seed and, unless `per_task`, without what is the task's."""
    left = json.loads(json.dumps(result.experiment))
    for path in (*vary, ".".join(SEED), *(() if per_task else OF_THE_TASK)):
        *sections, name = path.split(".")
        place = left
        for section in sections:
            place = place[section]
        place.pop(name, None)
    left.setdefault("task", {}).pop("data", None)
    return json.dumps(left, sort_keys=True)
