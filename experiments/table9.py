"""Compacter, Table 9: GLUE, T5-small, bottlenecks 16, 32, 64 and n = 4, 8, 16, the best chosen on validation."""

from dataclasses import replace

import hyperadapters as ha
from recipes import BASELINES, GLUE, KRONECKER, glue, known, method

HIGHER = ("houlsby", "adapterdrop", "bitfit")
"""Methods whose rate is 3e-3 here, ten times that at T5-base."""


def sizes(name: str) -> list[ha.Method]:
    """A method in every size of the table."""
    plain = {"first_layer": 5} if name == "adapterdrop" else {}  # of six layers the last alone
    if not hasattr(method(name), "bottleneck"):
        return [method(name)]
    widths = [{**plain, "bottleneck": bottleneck} for bottleneck in (16, 32, 64)]
    return [method(name, **w, n=n) for w in widths for n in (4, 8, 16)] if name in KRONECKER else [
        method(name, **w) for w in widths
    ]  # fmt: skip


def experiments() -> list[ha.Experiment]:
    found = []
    for name in known((*BASELINES, *KRONECKER)):
        for task in GLUE:
            for size in sizes(name):
                run = glue(size, task, "t5-small")
                rate = 3e-3 if name in HIGHER else run.training.lr
                found.append(replace(run, training=replace(run.training, lr=rate, warmup_steps=0)))
    return found
