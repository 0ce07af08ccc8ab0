"""Compacter, Table 9: GLUE, T5-small, bottlenecks 16, 32, 64 and n = 4, 8, 16, the best chosen on validation."""

from dataclasses import replace

import hyperadapters as ha
from recipes import BASELINES, GLUE, KRONECKER, glue, method

HIGHER = ("houlsby", "adapterdrop", "bitfit")
"""Methods whose rate is 3e-3 here, ten times that at T5-base."""


def sizes(name: str) -> list[ha.Method]:
    """Return a method in every size of the table."""
    if not hasattr(method(name), "bottleneck"):
        return [method(name)]
    last_layer = {"first_layer": 5} if name == "adapterdrop" else {}  # of six layers the last alone
    splits = [{"n": n} for n in (4, 8, 16)] if name in KRONECKER else [{}]
    return [method(name, bottleneck=width, **last_layer, **split) for width in (16, 32, 64) for split in splits]


def run(name: str, size: ha.Method, task: str) -> ha.Experiment:
    """Return one run of a size of the method of this name."""
    base = glue(size, task, "t5-small")
    rate = 3e-3 if name in HIGHER else base.training.lr
    return replace(base, training=replace(base.training, lr=rate, warmup_steps=0))


def experiments() -> list[ha.Experiment]:
    return [run(name, size, task) for name in (*BASELINES, *KRONECKER) for task in GLUE for size in sizes(name)]
