"""Compacter, Table 1: GLUE, T5-base, d = 24, every method at the rate the paper chose for it."""

import hyperadapters as ha
from recipes import BASELINES, GLUE, glue, method


def experiments() -> list[ha.Experiment]:
    rows = [
        *(method(name) for name in BASELINES),
        method("phm", n=12),
        method("compacter", n=4),
        method("compacter++", n=4),
    ]
    return [glue(row, task) for row in rows for task in GLUE]
