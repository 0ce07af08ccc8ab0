"""Every metric of GLUE and SuperGLUE against its formula, on random answers of which some are invalid."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from formulas import FORMULAS, INVALID

from hyperadapters import TASKS

PAPERS = """glue/cola glue/mrpc glue/stsb glue/qqp glue/mnli
superglue/boolq superglue/cb superglue/multirc superglue/record""".split()
"""Tasks that between them have every metric, over two classes and over three."""
ROWS = (1, 2, 3, 10, 60)
WORDS = "the The a an cat Cat, dog dogs. U.S. (blue) it's bus-stop - 42 4,2".split()

Cases = tuple[list[Any], list[Any]]
"""Answers and references."""


def classes(random: np.random.Generator, rows: int, number: int) -> Cases:
    return random.integers(INVALID, number, rows).tolist(), random.integers(0, number, rows).tolist()


def scores(random: np.random.Generator, rows: int) -> Cases:
    """Scores of STS-B in steps of 0.2, so that many are equal; every fifth answer is no number."""
    answers, references = (np.round(random.integers(0, 26, rows) / 5, 1).tolist() for _ in range(2))
    return [None if random.random() < 0.2 else answer for answer in answers], references


def text(random: np.random.Generator) -> str:
    return " ".join(random.choice(WORDS, random.integers(0, 4)))


def texts(random: np.random.Generator, rows: int) -> Cases:
    references = [tuple(text(random) for _ in range(random.integers(1, 4))) for _ in range(rows)]
    return [str(random.choice(r)) if random.random() < 0.5 else text(random) for r in references], references


def judged(random: np.random.Generator, rows: int) -> Cases:
    answers, right = classes(random, rows, 2)
    questions = [f"q{number}" for number in random.integers(0, max(1, rows // 3), rows)]
    kept = [r if random.random() < 0.7 else a for a, r in zip(answers, right, strict=True)]
    return kept, list(zip(right, questions, strict=True))


def cases_of(name: str) -> Callable[[np.random.Generator, int], Cases]:
    """What the answers of a task look like."""
    special = {"glue/stsb": scores, "superglue/record": texts, "superglue/multirc": judged}
    found = next((make for task, make in special.items() if name.startswith(task)), None)
    return found or (lambda random, rows: classes(random, rows, len(TASKS[name].form.target.texts)))


def test_no_metric_of_the_papers_tasks_is_left_out():
    of_papers = [task for name, task in TASKS.items() if name.startswith(("glue/", "superglue/"))]
    used, compared = (
        {metric.__name__ for task in tasks for metric in task.metrics}
        for tasks in (of_papers, [TASKS[name] for name in PAPERS])
    )
    assert used == compared == FORMULAS.keys(), "write the formula of every metric in tests/parity/formulas.py"


@pytest.mark.parametrize("name", PAPERS)
def test_every_metric_is_its_formula(name):
    random, make, apart = np.random.default_rng(0), cases_of(name), 0.0
    for rows in ROWS * 3:
        answers, references = make(random, rows)
        for metric in TASKS[name].metrics:
            difference = abs(metric(answers, references) - FORMULAS[metric.__name__](answers, references))
            assert difference < 1e-12, (metric.__name__, answers, references)
            apart = max(apart, difference)
    print(f"largest deviation: {apart:.1e}")
