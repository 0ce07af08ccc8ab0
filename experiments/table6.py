"""Compacter, Table 6: GLUE, T5-base: the methods that have an n at n = 4, 8, 12, and Intrinsic-SAID in five sizes."""

import hyperadapters as ha
from recipes import GLUE, KRONECKER, glue, method

DIMENSIONS = (400, 1400, 2500, 10_000, 20_000)
"""Trained parameters of Intrinsic-SAID."""


def experiments() -> list[ha.Experiment]:
    rows = [
        *(method(name, n=n) for name in KRONECKER for n in (4, 8, 12)),
        *(method("intrinsic-said", intrinsic_dim=size) for size in DIMENSIONS),
    ]
    return [glue(row, task) for row in rows for task in GLUE]
