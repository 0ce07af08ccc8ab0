"""The metrics of GLUE and SuperGLUE by their formulas, in numpy, with the papers' rules for invalid answers."""

import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

INVALID = -1


def f1_of_class(answers: Sequence[int], references: Sequence[int], chosen: int) -> float:
    """2·TP / (2·TP + FP + FN), 0 where nothing is counted."""
    given, right = np.array(answers) == chosen, np.array(references) == chosen
    both, either = (given & right).sum(), given.sum() + right.sum()
    return float(2 * both / either) if either else 0.0


def accuracy(answers: Sequence[int], references: Sequence[int]) -> float:
    return sum(a == r for a, r in zip(answers, references, strict=True)) / len(references)


def f1(answers: Sequence[int], references: Sequence[int]) -> float:
    """F1 of class 1; an invalid answer is the class that is wrong."""
    valid = [1 - r if a == INVALID else a for a, r in zip(answers, references, strict=True)]
    return f1_of_class(valid, references, 1)


def macro_f1(answers: Sequence[int], references: Sequence[int]) -> float:
    """CB: the mean over its three classes, one that no row has included."""
    return sum(f1_of_class(answers, references, chosen) for chosen in range(3)) / 3


def matthews(answers: Sequence[int], references: Sequence[int]) -> float:
    """(c·s − Σ p·t) / √((s² − Σ p²)(s² − Σ t²)): c right ones of s, p and t the rows of each class as answered and
    as they are (Gorodkin 2004). An invalid answer is a class of its own.
    """
    classes = sorted({*answers, *references})
    p = np.array([sum(a == k for a in answers) for k in classes])
    t = np.array([sum(r == k for r in references) for k in classes])
    rows, right = len(references), sum(a == r for a, r in zip(answers, references, strict=True))
    below = (rows**2 - p @ p) * (rows**2 - t @ t)
    return float((right * rows - p @ t) / np.sqrt(below)) if below else 0.0


def filled(answers: Sequence[float | None], references: Sequence[float]) -> np.ndarray:
    """Numbers with the end of the scale that is farthest from the reference in the place of invalid ones."""
    ends = min(references), max(references)
    worst = [max(ends, key=lambda end: (abs(end - r), end)) for r in references]
    return np.array([w if a is None else a for a, w in zip(answers, worst, strict=True)])


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Σ(x − x̄)(y − ȳ) / √(Σ(x − x̄)²·Σ(y − ȳ)²), 0 where one of them is constant."""
    x, y = x - x.mean(), y - y.mean()
    below = (x @ x) * (y @ y)
    return float(x @ y / np.sqrt(below)) if below else 0.0


def ranks(x: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal numbers share the mean of theirs."""
    return np.array([(x < value).sum() + ((x == value).sum() + 1) / 2 for value in x])


def pearson(answers: Sequence[float | None], references: Sequence[float]) -> float:
    return correlation(filled(answers, references), np.array(references))


def spearman(answers: Sequence[float | None], references: Sequence[float]) -> float:
    return correlation(ranks(filled(answers, references)), ranks(np.array(references)))


def words(text: str) -> list[str]:
    """SQuAD's normalisation: lower case, no punctuation, no articles, single spaces."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return [word for word in kept.split() if word not in ("a", "an", "the")]


def normalized_exact_match(answers: Sequence[str], references: Sequence[tuple[str, ...]]) -> float:
    found = [any(words(a) == words(r) for r in several) for a, several in zip(answers, references, strict=True)]
    return sum(found) / len(found)


def overlap(answer: str, reference: str) -> float:
    """2·P·R / (P + R) of the words, 0 where none is shared."""
    given, right = words(answer), words(reference)
    shared = sum(min(count, Counter(right)[word]) for word, count in Counter(given).items())
    if not shared:
        return 0.0
    precision, recall = shared / len(given), shared / len(right)
    return 2 * precision * recall / (precision + recall)


def token_f1(answers: Sequence[str], references: Sequence[tuple[str, ...]]) -> float:
    best = [max(overlap(a, r) for r in several) for a, several in zip(answers, references, strict=True)]
    return sum(best) / len(best)


def answer_f1(answers: Sequence[int], references: Sequence[tuple[int, str]]) -> float:
    """MultiRC's F1a: over all answers of all questions."""
    return f1(answers, [right for right, _ in references])


def question_exact_match(answers: Sequence[int], references: Sequence[tuple[int, str]]) -> float:
    """MultiRC's EM: the share of questions whose answers are all judged right."""
    questions = {question for _, question in references}
    wrong = {question for a, (right, question) in zip(answers, references, strict=True) if a != right}
    return 1 - len(wrong) / len(questions)


FORMULAS: dict[str, Callable[[Any, Any], float]] = {
    function.__name__: function
    for function in (
        accuracy, f1, macro_f1, matthews, pearson, spearman, normalized_exact_match, token_f1, answer_f1,
        question_exact_match,
    )
}  # fmt: skip
"""By the name of the metric."""
