"""Compacter, Tables 2 and 8: SuperGLUE, T5-base, d = 24; every n of Table 8 (Table 2 shows the best)."""

import hyperadapters as ha
from recipes import BASELINES, KRONECKER, SUPERGLUE, method, superglue


def experiments() -> list[ha.Experiment]:
    rows = [
        *(method(name) for name in BASELINES),
        *(method(name, n=n) for name in KRONECKER for n in (4, 8, 12)),
    ]
    return [superglue(row, task) for row in rows for task in SUPERGLUE]
