"""What a score of own files is compared with: the commonest answer or the mean, and a linear model of the words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from hyperadapters._utils import shown_metric
from hyperadapters.runs.experiment import Experiment
from hyperadapters.runs.result import Result
from hyperadapters.runs.task_choice import FilesTask, task_definitions
from hyperadapters.tasks import Example, Labels, Numeric, TagSequence, Task
from hyperadapters.training import Text, load_examples

_WORD_ROWS = 20_000
"""The most training rows that the linear model of the words is fitted to: it takes seconds, and more change little."""

CONSTANT = "constant"
"""The baseline that answers every row alike."""

WORDS = "bag of words"
"""The baseline that is a logistic regression over TF-IDF of words and pairs of words."""


def _find_baselines(experiment: Experiment) -> dict[str, dict[str, dict[str, float]]]:
    """Return the scores that need no backbone, for a task of own files; none for others.

    `constant` answers every row alike: the commonest class or text of the training rows, or the mean of their numbers.
    `bag of words`, for classes, is scikit-learn's logistic regression over TF-IDF of words and pairs of words.

    Args:
        experiment: its task, text and seed are used: the rows are those that it trains on.

    Returns:
        By baseline, split and metric.
    """
    if not isinstance(experiment.task, FilesTask):
        return {}
    return _baselines_of(experiment.task, experiment.text, experiment.training.seed)


@lru_cache(maxsize=4)
def _baselines_of(own: FilesTask, text: Text, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return the baselines of own files, which runs that are trained together share."""
    ((task, folder),) = task_definitions(own)
    rows = load_examples(task, folder, text, seed=seed)
    found = {CONSTANT: _scores(task, rows, _constant_answers(task, rows))}
    if isinstance(task.form.target, Labels) and (answers := _answers_of_words(rows)):
        found[WORDS] = _scores(task, rows, answers)
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
    train = rows["train"][:_WORD_ROWS]
    if len({row.reference for row in train}) < 2:
        return {}
    try:
        model.fit([" ".join(row.texts) for row in train], [row.reference for row in train])
    except ValueError:  # no words, such as digits alone
        return {}
    return {split: model.predict([" ".join(row.texts) for row in found]).tolist() for split, found in rows.items()}


def _scores(
    task: Task, rows: Mapping[str, Sequence[Example]], answers: Mapping[str, Sequence[Any]]
) -> dict[str, dict[str, float]]:
    """Return the task's metrics of some answers, by split, all but the training rows."""
    return {
        split: {metric.__name__: metric(answers[split], [row.reference for row in found]) for metric in task.metrics}
        for split, found in rows.items()
        if split != "train"
    }


def describe_baselines(result: Result) -> list[str]:
    """Return lines that set a score beside the baselines, and say what to try where a run is no better than the first.

    Args:
        result: of any task; without baselines nothing is said of them.
    """
    split = result.split
    lines = [
        f"{name}: {'  '.join(f'{metric} {shown_metric(metric, value)}' for metric, value in found[split].items())}"
        for name, found in result.baselines.items()
    ]
    before = [f"for comparison, {split} split: " + "; ".join(lines)] if lines else []
    return before + ([_advice(result)] if _has_not_learned(result) else [])


def _has_not_learned(result: Result) -> bool:
    """Return whether a run answers every row alike, or no better than if it did."""
    constant = result.baselines.get(CONSTANT, {}).get(result.split, {})
    own = result.metrics[result.split]
    metric = next(iter(constant), "")
    return bool(result.constant_answer) or (metric in own and own[metric] <= constant[metric])


def _advice(result: Result) -> str:
    training = result.experiment["training"]
    what = (
        f"every row is answered {result.constant_answer!r}"
        if result.constant_answer
        else "it does no better than one answer for all rows"
    )
    return (
        f"{result.method} has not learned: {what}. Try --tune, which races learning rates; or another rate (--lr "
        f"{training['lr'] / 3:.1g}, {training['lr'] * 3:.1g}), or more updates (--steps {3 * max(1, result.steps)})."
    )
