"""The tasks' metrics, from answers as class numbers, as numbers or as text.

All but the root mean squared error lie in [0, 1] or [-1, 1], and higher is better (`metric_scale`).

Invalid answers follow Compacter's evaluation (arXiv:2106.04647v2, §4.2 and published code): wrong for accuracy,
the other class for F1, a class of their own for Matthews' correlation, the worst score for a correlation.
"""

import re
import string
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from hyperadapters.tasks import label_set_metrics

INVALID = -1
"""The class number of an answer that is none of the labels."""

Metric = Callable[[Sequence[Any], Sequence[Any]], float]
"""Computes a score from predictions and references. Its name is the column in tables, and tells which direction is
better (`metric_scale`): higher, but for errors."""


def accuracy(predictions: Sequence[int], references: Sequence[int]) -> float:
    """Return the share of right answers."""
    return float(np.mean(np.asarray(predictions) == np.asarray(references)))


def f1(predictions: Sequence[int], references: Sequence[int]) -> float:
    """Return the F1 of class 1 of two; an invalid answer counts as the class that is wrong."""
    answers = [1 - r if p == INVALID else p for p, r in zip(predictions, references, strict=True)]
    return float(_f1_of_each(answers, references, [1])[0])


def macro_f1(predictions: Sequence[int], references: Sequence[int], labels: Sequence[int] | None = None) -> float:
    """Return the mean F1 of all classes that are the answer or the reference of a row, or of `labels`."""
    return float(np.mean(_f1_of_each(predictions, references, labels or _distinct_classes(predictions, references))))


def _f1_of_each(
    predictions: Sequence[int], references: Sequence[int], labels: Sequence[int]
) -> Float[np.ndarray, " labels"]:
    """Return the F1 of each class, 0 for one that is neither answered nor wanted.

    As scikit-learn's `f1_score`, which checks its arguments for milliseconds: an interval takes 500 of them.
    """
    each = np.asarray(labels)[:, None]
    answered, wanted = np.asarray(predictions) == each, np.asarray(references) == each
    both = answered.sum(1) + wanted.sum(1)
    found: Float[np.ndarray, " labels"] = 2 * (answered & wanted).sum(1) / np.maximum(both, 1)
    return found


def micro_f1(predictions: Sequence[int], references: Sequence[int]) -> float:
    """Return the F1 over all classes together: where every row has one class, the share of right answers."""
    return accuracy(predictions, references)


def roc_auc(probabilities: Sequence[Sequence[float]], references: Sequence[int]) -> float:
    """Return the area under the ROC curve of each class against the others, the mean over classes.

    Of two classes it is the usual one. A class that no row has, or every row, takes no part; where none is left, 0.5.

    Args:
        probabilities: of each row, those of all classes in their order.
        references: the number of each row's class.
    """
    from sklearn import metrics  # noqa: PLC0415 (slow to import)

    shares, classes = np.asarray(probabilities), np.asarray(references)
    there = [number for number in range(shares.shape[1]) if 0 < (classes == number).sum() < len(classes)]
    areas = [metrics.roc_auc_score(classes == number, shares[:, number]) for number in there]
    return float(np.mean(areas)) if areas else 0.5


OF_PROBABILITIES: tuple[Metric, ...] = (roc_auc,)
"""Metrics that take the probabilities of all classes of a row in place of its answer."""


def macro_f1_of(classes: int) -> Metric:
    """Return the macro-F1 over all classes of a task, as the papers' code computes it: one that no row has counts 0.

    Args:
        classes: how many there are.
    """
    metric = partial(macro_f1, labels=range(classes))
    metric.__name__ = "macro_f1"  # type: ignore[attr-defined]
    return metric


def _distinct_classes(predictions: Sequence[int], references: Sequence[int]) -> list[int]:
    """Return the classes that are the answer or the reference of a row."""
    return sorted({*predictions, *references} - {INVALID})


def matthews(predictions: Sequence[int], references: Sequence[int]) -> float:
    """Return Matthews' correlation coefficient; invalid answers are a class of their own; of one class it is 0.

    As scikit-learn's `matthews_corrcoef`, of any number of classes.
    """
    answers, wanted, rows = np.asarray(predictions), np.asarray(references), len(references)
    classes = np.unique(np.concatenate([answers, wanted]))[:, None]
    answered, there = (np.sum(values == classes, axis=1, dtype=float) for values in (answers, wanted))
    spread = (rows**2 - answered @ answered) * (rows**2 - there @ there)
    return float((np.sum(answers == wanted) * rows - answered @ there) / np.sqrt(spread)) if spread > 0 else 0.0


def _correlation(
    function: Callable[..., Any], predictions: Sequence[float | None], references: Sequence[float]
) -> float:
    values = _with_worst(predictions, references)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant answers: no correlation, reported as 0
        coefficient = float(function(values, references)[0]) if len(values) > 1 else 0.0
    return coefficient if np.isfinite(coefficient) else 0.0


def _with_worst(predictions: Sequence[float | None], references: Sequence[float]) -> list[float]:
    """Return answers as numbers: in place of an invalid one, the score that is farthest from the reference."""
    low, high = min(references), max(references)
    worst = [low if reference > (low + high) / 2 else high for reference in references]
    return [w if p is None else p for p, w in zip(predictions, worst, strict=True)]


def pearson(predictions: Sequence[float | None], references: Sequence[float]) -> float:
    """Return Pearson's correlation; an invalid answer is the score farthest from the reference, NaN counts 0."""
    from scipy import stats  # noqa: PLC0415 (slow to import)

    return _correlation(stats.pearsonr, predictions, references)


def spearman(predictions: Sequence[float | None], references: Sequence[float]) -> float:
    """Return Spearman's rank correlation; invalid answers and NaN as for `pearson`."""
    from scipy import stats  # noqa: PLC0415 (slow to import)

    return _correlation(stats.spearmanr, predictions, references)


def rmse(predictions: Sequence[float | None], references: Sequence[float]) -> float:
    """Return the root of the mean squared error, in the numbers' own unit; an invalid answer as for `pearson`."""
    errors = np.asarray(_with_worst(predictions, references)) - np.asarray(references, dtype=float)
    return float(np.sqrt(np.mean(np.square(errors))))


def _normalize(text: str) -> str:
    """Return text in lower case without punctuation and articles, as SQuAD (Rajpurkar et al., arXiv:1606.05250)."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(predictions: Sequence[str], references: Sequence[str | tuple[str, ...]]) -> float:
    """Return the share of answers equal to a reference to the letter, white space at the ends apart.

    Where a row has several references, to any of them.
    """
    return _best(lambda p, r: float(p.strip() == r.strip()), predictions, references)


def normalized_exact_match(predictions: Sequence[str], references: Sequence[str | tuple[str, ...]]) -> float:
    """Return the share of answers equal to a reference after SQuAD's normalisation (arXiv:1606.05250).

    It drops case, punctuation and articles, so -5 is 5 and "x > 1" is "x < 1": for answers that are words alone.
    """
    return _best(lambda p, r: float(_normalize(p) == _normalize(r)), predictions, references)


def token_f1(predictions: Sequence[str], references: Sequence[str | tuple[str, ...]]) -> float:
    """Return the mean over rows of the F1 between the normalised words of answer and reference; the best of several.

    As in ReCoRD's script, an answer without a word left, such as "the", shares none and counts 0. Where a row has no
    reference, being a question without an answer, the empty answer counts 1 (SQuAD 2.0, arXiv:1806.03822).
    """
    return _best(_word_f1, predictions, references)


def _best(
    score: Callable[[str, str], float], predictions: Sequence[str], references: Sequence[str | tuple[str, ...]]
) -> float:
    several = [(r,) if isinstance(r, str) else r for r in references]
    rows = zip(predictions, several, strict=True)
    return float(np.mean([max(score(p, r) for r in rs) if rs else not p.strip() for p, rs in rows]))


def _word_f1(prediction: str, reference: str) -> float:
    predicted, expected = _normalize(prediction).split(), _normalize(reference).split()
    common = sum((Counter(predicted) & Counter(expected)).values())
    return 2 * common / (len(predicted) + len(expected)) if common else 0.0


def answer_f1(predictions: Sequence[int], references: Sequence[tuple[int, str]]) -> float:
    """Return the F1 over all answers of all questions: MultiRC's F1a (Khashabi et al., NAACL 2018).

    Args:
        predictions: 1 for an answer taken as right.
        references: (1 for a right answer, its question) for each answer.
    """
    return f1(predictions, [right for right, _ in references])


def question_exact_match(predictions: Sequence[int], references: Sequence[tuple[int, str]]) -> float:
    """Return the share of questions of which every answer was judged right: MultiRC's EM, as SuperGLUE reports it."""
    whole: dict[str, bool] = {}
    for prediction, (right, question) in zip(predictions, references, strict=True):
        whole[question] = whole.get(question, True) and prediction == right
    return sum(whole.values()) / len(whole)


_OVER_QUESTIONS = (answer_f1, question_exact_match)
"""Metrics whose references are (class, question)."""


_NUMBER_METRICS = (pearson, spearman, rmse)
"""The metrics of numbers in a user's own files; the mean of the correlations chooses the best weights."""

_RESAMPLES = 500
"""How often `bootstrap` draws rows, with replacement."""


def bootstrap(metric: Metric, predictions: Sequence[Any], references: Sequence[Any]) -> tuple[float, float]:
    """Return the 95 % percentile interval of a metric over resampled rows; of MultiRC, over resampled questions.

    Args:
        metric: one of this module.
        predictions: decoded answers.
        references: what the metric compares them with.
    """
    if metric is macro_f1:  # a resample may lack a class that the whole has
        metric = partial(macro_f1, labels=_distinct_classes(predictions, references))
    if metric is label_set_metrics.macro_f1:
        metric = partial(metric, labels=label_set_metrics._distinct_labels(predictions, references))
    units: dict[Any, list[int]] = defaultdict(list)
    for row, reference in enumerate(references):
        units[reference[1] if metric in _OVER_QUESTIONS else row].append(row)
    groups = list(units.values())
    random = np.random.default_rng(0)
    found = []
    for _ in range(_RESAMPLES):
        rows = [row for unit in random.integers(len(groups), size=len(groups)) for row in groups[unit]]
        found.append(metric([predictions[row] for row in rows], [references[row] for row in rows]))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


_TEXT_METRICS = (exact_match, normalized_exact_match, token_f1)
"""The metrics of free text in a user's own files; the first chooses the best weights."""

_SPAN_METRICS = (token_f1, normalized_exact_match)
"""The metrics of answers that are a part of the text, as SQuAD has them; the first chooses the best weights."""
