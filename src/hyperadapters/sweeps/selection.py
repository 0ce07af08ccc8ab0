"""Which setting of a method to report: chosen on validation alone, as a pure function of results."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from hyperadapters.runs import Result

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
    """Settings that lack runs which another has: they take no part, or, where all do, with the runs they share."""


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
        One choice for each group of results that are alike but for the varied settings, the seed, what belongs to the
        task (`OF_THE_TASK`, where validation chooses too) and, unless `per_task`, the task. Settings that lack a task
        or seed which another setting has take no part; where all lack one, those with most runs are compared on what
        they share. They are named.
    """
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in named_apart(results):
        groups[group_of(result, vary, per_task=per_task)].append(result)
    return [choose(group, found, vary) for group, found in groups.items()]


def named_apart(results: Sequence[Result]) -> list[Result]:
    """The results, those of own files whose name another task has too called by folder and answer besides."""
    alike: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        if result.experiment["task"] not in alike[result.task]:
            alike[result.task].append(result.experiment["task"])
    return [replace(result, task=called(result, alike[result.task])) for result in results]


def called(result: Result, alike: Sequence[Mapping[str, Any]]) -> str:
    """What to call a run's task among those of its name; numbered where folder and answer are the same too."""
    task = result.experiment["task"]
    if len(alike) == 1 or "train" not in task:
        return result.task
    same = [other for other in alike if "train" in other and about(other) == about(task)]
    number = [str(same.index(task) + 1)] if len(same) > 1 else []
    return f"{result.task} ({', '.join([*about(task), *number])})"


def about(task: Mapping[str, Any]) -> list[str]:
    """The folder of a task of own files, and its column of the answer."""
    return [part for part in (Path(task["train"]).parent.name, task.get("answer")) if part]


def choose(group: str, results: Sequence[Result], vary: Sequence[str]) -> Choice:
    """The best setting of one group."""
    found: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        found[setting_of(result, vary)][result.task].append(result)
    settings = {
        setting: {case_of(result): result for runs in tasks.values() for result in best_recipe(runs)}
        for setting, tasks in found.items()
    }
    every = set().union(*settings.values())
    most = max(len(cases) for cases in settings.values())
    fullest = {setting: cases for setting, cases in settings.items() if len(cases) == most}
    common = set.intersection(*(set(cases) for cases in fullest.values())) or set(fullest[min(fullest)])
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
        tuple(setting for setting, cases in settings.items() if set(cases) != every),
    )


def best_recipe(results: Sequence[Result]) -> list[Result]:
    """Of one task's runs, those of one recipe (epochs, batch, lengths): most seeds, then best on validation."""
    recipes: dict[str, dict[int, Result]] = defaultdict(dict)
    for result in results:
        recipes[recipe_of(result)][case_of(result)[1]] = result

    def rank(recipe: str) -> tuple[int, float]:
        runs = recipes[recipe].values()
        return len(runs), mean(validation_score(run) for run in runs)

    return list(recipes[max(sorted(recipes), key=rank)].values())


def recipe_of(result: Result) -> str:
    """What belongs to the task, as JSON."""
    return json.dumps({path: field_of(result.experiment, path) for path in OF_THE_TASK}, sort_keys=True)


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


OF_THE_TASK = (
    "text",
    "training.epochs",
    "training.steps",
    "training.batch_size",
    "training.warmup_steps",
    "training.evaluate_steps",
    "training.checkpoint_seconds",
    "evaluation",
)
"""What a recipe sets for each task."""

WHEREABOUTS = ("task.data", "start.adapter", "start.digest", "start.like")
"""Where files lie, and which trained adapter of a seed, and which of its tasks, a run went on from."""


def group_of(result: Result, vary: Sequence[str], *, per_task: bool) -> str:
    """The experiment without what is varied, without the seed and, unless `per_task`, without its task.

    A mixture's tasks stay: one model of eight tasks is not another of two.
    """
    left = json.loads(json.dumps(result.experiment))
    for path in (*vary, ".".join(SEED), *OF_THE_TASK, *WHEREABOUTS):
        *sections, name = path.split(".")
        place = left
        for section in sections:
            place = place.get(section) or {}
        place.pop(name, None)
    if not per_task and "names" not in left["task"]:
        left.pop("task")
    return json.dumps(left, sort_keys=True)
