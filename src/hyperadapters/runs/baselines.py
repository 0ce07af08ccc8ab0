"""What a score of own files is compared with: the commonest answer or the mean, and a linear model of the words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from hyperadapters._utils import InputError, few_names, mean_score, short_names, shown_metric
from hyperadapters.runs.experiment import Experiment
from hyperadapters.runs.result import Result
from hyperadapters.runs.task_choice import FilesTask, MixtureTask, entries_of, task_definitions, task_name
from hyperadapters.tasks import (
    OF_PROBABILITIES,
    Example,
    Labels,
    Metric,
    Numeric,
    TagSequence,
    Task,
    metric_named,
    permutation,
)
from hyperadapters.training import Text, load_examples

_WORD_ROWS = 20_000
"""The most training rows that the linear model of the words is fitted to: it takes seconds, and more change little."""

CONSTANT = "constant"
"""The baseline that answers every row alike."""

WORDS = "bag of words"
"""The baseline that is a logistic regression over TF-IDF of words and pairs of words."""


def _find_baselines(experiment: Experiment) -> dict[str, dict[str, dict[str, float]]]:
    """Return the scores that need no backbone, for tasks of own files; none for others.

    `constant` answers every row alike: the commonest class or text of the training rows, or the mean of their numbers.
    `bag of words`, for classes, is scikit-learn's logistic regression over TF-IDF of words and pairs of words.

    Args:
        experiment: its task, text, metric and seed are used: the rows are those that it trains on.

    Returns:
        By baseline, split and metric; of a mixture the metrics are `task.metric`, as `evaluate` calls them.
    """
    short = short_names([task_name(entry) for entry in entries_of(experiment.task)])
    found: dict[str, dict[str, dict[str, float]]] = {}
    for entry in entries_of(experiment.task):
        if not isinstance(entry, FilesTask):
            continue
        own = _baselines_of(entry, experiment.text, experiment.training.seed, experiment.evaluation.metric)
        before = f"{short[task_name(entry)]}." if isinstance(experiment.task, MixtureTask) else ""
        for baseline, splits in own.items():
            for split, metrics in splits.items():
                named = {f"{before}{name}": value for name, value in metrics.items()}
                found.setdefault(baseline, {}).setdefault(split, {}).update(named)
    return found


@lru_cache(maxsize=4)
def _baselines_of(own: FilesTask, text: Text, seed: int, metric: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return the baselines of own files, which runs that are trained together share."""
    ((task, folder),) = task_definitions(own)
    rows = load_examples(task, folder, text, seed=seed)
    chosen = [metric_named(metric, task.form.target, task.metrics)] if metric else []
    by_name = {one.__name__: one for one in (*task.metrics, *chosen)}
    metrics = [one for one in by_name.values() if one not in OF_PROBABILITIES]
    found = {CONSTANT: _scores(metrics, rows, _constant_answers(task, rows))}
    if isinstance(task.form.target, Labels) and (answers := _answers_of_words(rows)):
        found[WORDS] = _scores(metrics, rows, answers)
    return found


def _constant_answers(task: Task, rows: Mapping[str, Sequence[Example]]) -> dict[str, list[Any]]:
    """Return what answers the rows of each split alike: the mean of numbers, the commonest tag, or commonest value."""
    target, train = task.form.target, rows["train"]
    if isinstance(target, TagSequence):
        tag = Counter(tag for row in train for tag in row.reference).most_common(1)[0][0]
        return {split: [(tag,) * len(row.words) for row in found] for split, found in rows.items()}
    if isinstance(target, Numeric):
        numbers = [row.number if row.number is not None else float(row.target) for row in train]
        answer: Any = sum(numbers) / len(numbers)
    else:
        answer = target.decode(Counter(row.target for row in train).most_common(1)[0][0])
    return {split: [answer] * len(found) for split, found in rows.items()}


def _answers_of_words(rows: Mapping[str, Sequence[Example]]) -> dict[str, list[int]]:
    """Return the classes that a linear model of the words gives the rows of each split; none without scikit-learn."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 (slow to import)
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    except ImportError:
        return {}
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
    train = rows["train"]
    if len(train) > _WORD_ROWS:  # not the first ones: a file may be sorted by class
        train = [train[number] for number in permutation(len(train))[:_WORD_ROWS]]
    if len({row.reference for row in train}) < 2:
        return {}
    try:
        model.fit([" ".join(row.texts) for row in train], [row.reference for row in train])
    except ValueError:  # no words, such as digits alone
        return {}
    return {split: model.predict([" ".join(row.texts) for row in found]).tolist() for split, found in rows.items()}


def _scores(
    metrics: Sequence[Metric], rows: Mapping[str, Sequence[Example]], answers: Mapping[str, Sequence[Any]]
) -> dict[str, dict[str, float]]:
    """Return some metrics of some answers, by split, all but the training rows.

    A function of the user's that fails at them is left out: the run that it was made for has its score.
    """
    scores: dict[str, dict[str, float]] = {split: {} for split in rows if split != "train"}
    for split, own in scores.items():
        for metric in metrics:
            with suppress(InputError):
                own[metric.__name__] = metric(answers[split], [row.reference for row in rows[split]])
    return scores


def describe_baselines(result: Result, *, raced: bool = False) -> list[str]:
    """Return lines that set a score beside the baselines, and say what to try where a run is no better than the first.

    Args:
        result: of any task; without baselines nothing is said of them.
        raced: its rate was raced already.
    """
    lines = [
        f"{name}: {'  '.join(f'{metric} {shown_metric(metric, value)}' for metric, value in found.items())}"
        for name in result.baselines
        if (found := _reported(result, name))
    ]
    before = [f"for comparison, {result.split_in_words}: " + "; ".join(lines)] if lines else []
    unlearned = _unlearned(result)
    return before + ([_advice(result, unlearned, raced=raced)] if unlearned is not None else [])


def _reported(result: Result, baseline: str) -> dict[str, float]:
    """Return the scores of a baseline on the split that each task is reported on."""
    splits = result.baselines.get(baseline, {})
    found = {**splits.get("validation", {}), **splits.get(result.split, {})}
    return {name: value for name, value in found.items() if name in result.reported}


def _unlearned(result: Result) -> list[str] | None:
    """Return the tasks of a mixture whose rows are answered no better than if all had one answer; None: there are none.

    An empty list means the whole run: of one task, or one that answers all rows of a mixture alike. What is compared is
    what chooses the best weights: the metric asked for, or the mean of the task's.
    """
    constant = _reported(result, CONSTANT)
    own = {name: value for name, value in result.reported.items() if name in constant}
    chosen = result.experiment.get("evaluation", {}).get("metric", "").rpartition(":")[2]
    if result.experiment.get("task", {}).get("type") == "mixture":
        tasks = dict.fromkeys(name.rpartition(".")[0] for name in own)
        by_task = {task: [name for name in own if name.rpartition(".")[0] == task] for task in tasks}
        unlearned = [task for task, names in by_task.items() if not _is_better(own, constant, names, chosen)]
        return unlearned or ([] if result.constant_answer else None)
    return [] if result.constant_answer or (own and not _is_better(own, constant, [*own], chosen)) else None


def _is_better(own: Mapping[str, float], constant: Mapping[str, float], names: Sequence[str], chosen: str) -> bool:
    """Return whether a score is above that of one answer for all rows.

    Args:
        own: the metrics of the run.
        constant: those of one answer.
        names: the metrics that are compared by their mean.
        chosen: the one of them that is compared in place of all, where it is among them.
    """
    names = [name for name in names if name.rpartition(".")[2] == chosen] or names
    ours, theirs = ({name: found[name] for name in names} for found in (own, constant))
    return mean_score(ours) > mean_score(theirs)


def _advice(result: Result, tasks: Sequence[str], *, raced: bool) -> str:
    training = result.experiment["training"]
    what = f" {few_names(tasks)}" if tasks else ""
    if result.constant_answer:
        why = f"every row is answered {result.constant_answer!r}"
    else:
        why = "it does no better than one answer for all rows"
    other = f"another rate (--lr {training['lr'] / 3:.1g}, {training['lr'] * 3:.1g})"
    more = f"more updates (--steps {3 * max(1, result.steps)})"
    remedy = f"Rates were raced already: try {more}, or more rows"
    if not raced:
        remedy = f"Try --tune, which races learning rates; or {other}, or {more}"
    return f"{result.method} has not learned{what}: {why}. {remedy}."
