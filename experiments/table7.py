"""Compacter, Table 7: GLUE, T5-base, the output layer trained too."""

import hyperadapters as ha
from recipes import GLUE, glue, method

NAMES = ("houlsby", "pfeiffer", "adapterdrop", "lowrank", "phm", "compacter", "compacter++")


def experiments() -> list[ha.Experiment]:
    return [glue(method(name, output_layer=True), task) for name in NAMES for task in GLUE]
