"""Compacter, Table 6: GLUE, T5-base, the methods that have an n at n = 4, 8, 12."""

import hyperadapters as ha
from recipes import GLUE, KRONECKER, glue, method


def experiments() -> list[ha.Experiment]:
    return [glue(method(name, n=n), task) for name in KRONECKER for n in (4, 8, 12) for task in GLUE]
