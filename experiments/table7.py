"""Compacter, Table 7: GLUE, T5-base, the output layer trained too; the methods that have an n at n = 4, 8, 12."""

from dataclasses import replace

import hyperadapters as ha
from recipes import GLUE, KRONECKER, glue, method

BASELINES = ("houlsby", "pfeiffer", "adapterdrop", "lowrank", "bitfit")


def run(name: str, row: ha.Method, task: str) -> ha.Experiment:
    """Return one run; the rate of Adapter is ten times that of Table 1."""
    base = glue(row, task)
    rate = 3e-3 if name == "houlsby" else base.training.lr
    return replace(base, training=replace(base.training, lr=rate))


def experiments() -> list[ha.Experiment]:
    rows = [
        *((name, method(name, output_layer=True)) for name in BASELINES),
        *((name, method(name, output_layer=True, n=n)) for name in KRONECKER for n in (4, 8, 12)),
    ]
    return [run(name, row, task) for name, row in rows for task in GLUE]
