"""HyperFormer, Table 1: GLUE in one model, T5-small and T5-base, bottlenecks h/32 and h/16, beside single-task runs.

Every run on the mixture makes 65,536 steps of 128 rows, at a temperature of 10.
"""

from dataclasses import replace

import hyperadapters as ha
from recipes import GLUE, glue, method

STEPS = 65_536
WIDTHS = {"t5-small": 512, "t5-base": 768}
MULTI_TASK = ("full-multitask", "adapters-multitask", "hyperformer", "hyperformer++")
SINGLE_TASK = ("full", "houlsby")


def sizes(name: str, backbone: str) -> list[ha.Method]:
    """Return a method in both sizes of the table, and the hypernetworks as the paper's code starts them."""
    start = {"projector_init": "published"} if name.startswith("hyperformer") else {}
    if not hasattr(method(name), "bottleneck"):
        return [method(name)]
    return [method(name, bottleneck=WIDTHS[backbone] // part, **start) for part in (32, 16)]


def run(row: ha.Method, backbone: str, tasks: tuple[str, ...]) -> ha.Experiment:
    """Return a run on one task, by epochs as in Compacter's Table 1, or on several together, by steps."""
    base = glue(row, tasks[0], backbone)
    training = replace(base.training, lr=3e-4, batch_size=128, label_smoothing=0.1)
    if len(tasks) == 1:
        return replace(base, training=training)
    together = replace(training, steps=STEPS, evaluate_steps=STEPS // 64)
    return replace(base, task=ha.MixtureTask.named(*tasks), training=together)


def experiments() -> list[ha.Experiment]:
    return [
        run(row, backbone, tasks)
        for backbone in WIDTHS
        for names, choices in ((SINGLE_TASK, [(task,) for task in GLUE]), (MULTI_TASK, [GLUE]))
        for name in names
        for row in sizes(name, backbone)
        for tasks in choices
    ]
