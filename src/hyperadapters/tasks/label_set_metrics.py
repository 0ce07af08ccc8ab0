"""Metrics of answers that are sets of labels, each as the numbers of its labels; an invalid one is of no reference."""

from collections import Counter
from collections.abc import Iterable, Sequence

_Sets = Sequence[Iterable[int]]
"""The numbers of each row's labels."""


def micro_f1(predictions: _Sets, references: _Sets) -> float:
    """Return the F1 over all labels of all rows together; 0 where there is none."""
    right, answered, wanted = (sum(counts.values()) for counts in _counts(predictions, references))
    return 2 * right / (answered + wanted) if answered + wanted else 0.0


def macro_f1(predictions: _Sets, references: _Sets, labels: Sequence[int] | None = None) -> float:
    """Return the mean F1 of all labels that are the answer or the reference of a row, or of `labels`."""
    right, answered, wanted = _counts(predictions, references)
    labels = _distinct_labels(predictions, references) if labels is None else labels
    each = [
        2 * right[label] / (answered[label] + wanted[label]) if answered[label] + wanted[label] else 0.0
        for label in labels
    ]
    return sum(each) / len(each) if each else 0.0


def subset_accuracy(predictions: _Sets, references: _Sets) -> float:
    """Return the share of rows whose labels are all right, and none is missing."""
    same = [{*found} == {*wanted} for found, wanted in zip(predictions, references, strict=True)]
    return sum(same) / len(same)


def _counts(predictions: _Sets, references: _Sets) -> tuple[Counter[int], Counter[int], Counter[int]]:
    """Return how often each label was right, was answered, and was wanted."""
    pairs = [({*found}, {*wanted}) for found, wanted in zip(predictions, references, strict=True)]
    right = Counter(label for found, wanted in pairs for label in found & wanted)
    return right, Counter(x for found, _ in pairs for x in found), Counter(x for _, wanted in pairs for x in wanted)


def _distinct_labels(predictions: _Sets, references: _Sets) -> list[int]:
    """Return the labels that are the answer or the reference of a row."""
    return sorted({label for row in (*predictions, *references) for label in row if label >= 0})


_LABEL_SET_METRICS = (micro_f1, macro_f1, subset_accuracy)
"""The metrics of sets of labels in a user's own files."""
