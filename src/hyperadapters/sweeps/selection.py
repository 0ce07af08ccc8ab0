"""The setting of each method to report: chosen on validation alone, as a pure function of results."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from hyperadapters.runs import Result, without_places
from hyperadapters.sweeps.paths import _setting_at, _without_paths
from hyperadapters.tasks import share_of

KNOWN_AS = "known_as"
"""Where `distinguish_tasks` puts the distinct name of a task of a mixture, in the task's JSON."""

_SEED = "training.seed"


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
    """Choose for each method the setting with the best mean validation score; test scores are not used.

    The papers choose one rate for a method over all tasks (Compacter, arXiv:2106.04647v2, appendix A). The best epoch
    of each run was chosen on validation too, during training.

    Args:
        results: runs that may differ in method, task, backbone, seed and settings.
        vary: paths of the settings to choose among, such as `training.lr`, `method.n`, `method.bottleneck`.
        per_task: choose for each task by itself.

    Returns:
        One choice for each group of results that differ only in the varied settings, the seed, what belongs to a
        task's recipe (`RECIPE`, of which validation chooses one for each task) and, unless `per_task`, the task. A
        setting that lacks a task or seed which another has takes no part and is named as incomplete; where all lack
        one, those with the most runs are compared on the runs that they share.
    """
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in distinguish_tasks(results):
        groups[group_of(result, vary, per_task=per_task)].append(result)
    return [_choose(group, found, vary) for group, found in groups.items()]


def distinguish_tasks(results: Sequence[Result]) -> list[Result]:
    """Return the results with distinct task names: own files of one name get their folder and answer column added.

    Files are one and the same where their checksums say so, wherever they lay. In a mixture each entry has its distinct
    name under `KNOWN_AS` in the result's experiment, if that is another than its own, which its metrics go by.
    """
    crossed = _crossed_splits(results)
    alike: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    metrics: dict[str, set[str]] = defaultdict(set)
    for result in results:
        for name, entry in _entries_of(result, crossed):
            metrics[name].add(_chosen_by(result))
            if _identity(entry) not in map(_identity, alike[name]):
                alike[name].append(entry)
    several = {name for name, found in metrics.items() if len(found) > 1}
    return [_distinguished(result, alike, crossed, several) for result in results]


def _entries_of(result: Result, crossed: Collection[str]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return a run's tasks, as `_task_of` has them, with their names; those of `_crossed_splits` as they are."""
    task, given = _task_of(result), result.experiment["task"]
    pairs = zip(task.get("tasks", [task]), given.get("tasks", [given]), strict=True)
    entries = [own if _as_key(entry) in crossed else entry for entry, own in pairs]
    if "tasks" not in task:
        return [(result.task, entries[0])]
    return [(entry.get(KNOWN_AS, entry["name"]), entry) for entry in entries]


def _task_of(result: Result) -> dict[str, Any]:
    """Return the JSON of a run's task, or of its mixture, without the seeds that draw rows to validate on.

    Runs of several seeds are of one task, whether each draws its own validation rows or all have the same.
    """
    task = result.experiment["task"]

    def without_seed(entry: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in entry.items() if name != "split_seed"}

    if "tasks" in task:
        return {**task, "tasks": [without_seed(entry) for entry in task["tasks"]]}
    return without_seed(task)


def _crossed_splits(results: Sequence[Result]) -> set[str]:
    """Return the tasks, as JSON, of which runs of one seed validate on different shares of the training rows."""
    found: dict[str, dict[int, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for result in results:
        task, given = _task_of(result), result.experiment["task"]
        for entry, own in zip(task.get("tasks", [task]), given.get("tasks", [given]), strict=True):
            drawn = share_of(str(own.get("validation", "")))
            split = own.get("split_seed") if drawn else None
            found[_as_key(entry)][result.experiment["training"]["seed"]].add(split)
    return {key for key, seeds in found.items() if any(len(splits) > 1 for splits in seeds.values())}


def _as_key(entry: Mapping[str, Any]) -> str:
    return json.dumps(_identity(entry), sort_keys=True)


def _chosen_by(result: Result) -> str:
    """Return the metric that chose the weights of a run; empty where that was the task's own choice."""
    return str(result.experiment["evaluation"].get("metric", ""))


def _identity(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells a task from others of its name: in a mixture it says its name, alone it may not."""
    return {key: value for key, value in without_places(entry).items() if key not in ("name", KNOWN_AS)}


def _distinguished(
    result: Result,
    alike: Mapping[str, Sequence[Mapping[str, Any]]],
    crossed: Collection[str],
    several: Collection[str],
) -> Result:
    """Return a run's result with distinct names.

    Args:
        result: of one or several tasks.
        alike: the different tasks of each name.
        crossed: as `_crossed_splits` gives them.
        several: names of which weights were chosen by different metrics: such runs are not compared.
    """
    by = f" (by {_chosen_by(result) or 'its own metrics'})"
    names = [
        _distinct_name(name, entry, alike[name]) + (by if name in several else "")
        for name, entry in _entries_of(result, crossed)
    ]
    task = result.experiment["task"]
    if "tasks" in task:
        entries = [
            entry if name == entry["name"] else {**entry, KNOWN_AS: name}
            for name, entry in zip(names, task["tasks"], strict=True)
        ]
        result = replace(result, experiment={**result.experiment, "task": {**task, "tasks": entries}})
    return replace(result, task="+".join(names))


def _distinct_name(name: str, entry: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> str:
    """Return a name for a task among those of the same name; with a number where folder and answer agree too."""
    if len(alike) == 1 or "train" not in entry:
        return name
    itself = _identity(entry)
    task = next(other for other in alike if _identity(other) == itself)
    same = [other for other in alike if "train" in other and _folder_and_answer(other) == _folder_and_answer(task)]
    number = [str(same.index(task) + 1)] if len(same) > 1 else []
    return f"{name} ({', '.join([*_folder_and_answer(task), *number])})"


def _folder_and_answer(task: Mapping[str, Any]) -> list[str]:
    """Return the name of the folder of a task of own files, and its answer column, as far as there are any."""
    return [part for part in (Path(task["train"]).parent.name, task.get("answer")) if part]


def _choose(group: str, results: Sequence[Result], vary: Sequence[str]) -> Choice:
    """Return the choice of one group."""
    found: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        found[_setting_of(result, vary)][result.task].append(result)
    settings = {
        setting: {_case_of(result): result for runs in tasks.values() for result in _best_recipe(runs)}
        for setting, tasks in found.items()
    }
    every = set().union(*settings.values())
    most = max(len(cases) for cases in settings.values())
    fullest = {setting: cases for setting, cases in settings.items() if len(cases) == most}
    common = set.intersection(*(set(cases) for cases in fullest.values())) or set(fullest[min(fullest)])
    scores = {
        setting: mean(_validation_score(cases[case]) for case in sorted(common))
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


def _best_recipe(results: Sequence[Result]) -> list[Result]:
    """Return those of one task's runs that share a recipe: the one with most seeds, then best on validation."""
    recipes: dict[str, dict[int, Result]] = defaultdict(dict)
    for result in results:
        recipes[_task_recipe(result)][_case_of(result)[1]] = result

    def rank(recipe: str) -> tuple[int, float]:
        runs = recipes[recipe].values()
        return len(runs), mean(_validation_score(run) for run in runs)

    return list(recipes[max(sorted(recipes), key=rank)].values())


def _task_recipe(result: Result) -> str:
    """Return the settings of `RECIPE` as JSON."""
    return json.dumps({path: _setting_at(result.experiment, path) for path in _RECIPE}, sort_keys=True)


def _validation_score(result: Result) -> float:
    """Return the mean on validation by which epochs are chosen too: higher is better."""
    return result.averages["validation"]


def _case_of(result: Result) -> tuple[str, int]:
    """Return the task and the seed."""
    return result.task, result.experiment["training"]["seed"]


def _setting_of(result: Result, vary: Sequence[str]) -> str:
    """Return the varied settings as JSON; null where the method has no such field."""
    return json.dumps({path: _setting_at(result.experiment, path) for path in vary})


_RECIPE = (
    "text",
    "training.epochs",
    "training.steps",
    "training.min_steps",
    "training.batch_size",
    "training.warmup_steps",
    "training.evaluate_steps",
    "training.checkpoint_seconds",
    "evaluation",
)
"""Paths of the settings that may differ by task."""

_WHEREABOUTS = ("start.adapter", "start.digest", "start.like")
"""Paths of which trained adapter, and which of its tasks, a run started from."""


def group_of(result: Result, vary: Sequence[str], *, per_task: bool) -> str:
    """Return what makes a group, as JSON: the experiment without seed, varied settings and, unless `per_task`, task.

    A mixture's tasks stay: a model of eight tasks and one of two are never compared.
    """
    left = _without_paths(result.experiment, (*vary, _SEED, *_RECIPE, *_WHEREABOUTS))
    left["task"] = without_places(_task_of(result))
    if not per_task and "tasks" not in left["task"]:
        left.pop("task")
    return json.dumps(left, sort_keys=True)
