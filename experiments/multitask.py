"""Many tasks in one model (HyperFormer, arXiv:2106.04489v1, §3), on the embedded T5, small enough for one CPU core.

    hyperadapters sweep experiments/multitask.py --data DATA --output OUT --keep-adapters
    python experiments/many_tasks.py OUT results/multitask.json

Eight tasks of GLUE and SuperGLUE. The paper's mixture is GLUE's eight; of QQP, MNLI and QNLI the training sets are not
at hand. All arms take the same steps on the same rows; a single-task arm takes its task's share of them. The adapters
that are kept are what `transfer.py` starts from. Every arm with one seed comes before any with two.
"""

from dataclasses import replace

import hyperadapters as ha
from hyperadapters.experiment import suggested_rate

TASKS = (
    "glue/cola",
    "glue/sst2",
    "glue/mrpc",
    "glue/stsb",
    "glue/rte",
    "superglue/wic",
    "superglue/cb",
    "superglue/boolq-1886",
)
ROWS = 800
"""At most, of each task; CB has 250."""
STEPS = 480
BATCH = 32
EVALUATIONS = 3
SOURCE_LENGTH = 64
"""Tokens; BoolQ's passages are cut."""
SEEDS = (1, 2, 3)

ARMS = ("full-multitask", "adapters-multitask", "hyperformer", "hyperformer++", "hyper-compacter", "hyper-phm")
ABLATIONS = ("adapter_blocks", "conditional_norm", "task_projector", "norms")
"""Fields of HyperFormer++ that are off, one at a time (HyperFormer, §4.1)."""


def mixture(method: ha.Method, seed: int) -> ha.Experiment:
    """A run of all tasks in one Delta."""
    training = ha.Training(
        lr=suggested_rate(method, "embedded"),
        steps=STEPS,
        batch_size=BATCH,
        warmup_steps=STEPS // 16,
        evaluate_steps=STEPS // EVALUATIONS,
        seed=seed,
        checkpoint_seconds=600,
    )
    return ha.Experiment(
        method=method,
        backbone="embedded",
        task=ha.MixtureTask(names=TASKS),
        text=ha.Text(source_length=SOURCE_LENGTH, train_rows=ROWS),
        training=training,
    )


def alone(task: str, seed: int) -> ha.Experiment:
    """A single-task adapter: an eighth of the steps, on the same rows of its task."""
    method = ha.METHODS["houlsby"]
    base = mixture(method, seed)
    steps = STEPS // len(TASKS)
    training = replace(base.training, steps=steps, warmup_steps=steps // 16, evaluate_steps=steps // EVALUATIONS)
    rows = 250 if task == "superglue/cb" else ROWS
    return replace(base, task=ha.NamedTask(name=task), training=training, text=replace(base.text, train_rows=rows))


def experiments() -> list[ha.Experiment]:
    found = []
    for seed in SEEDS:
        found += [mixture(ha.METHODS[name], seed) for name in ARMS]
        found += [alone(task, seed) for task in TASKS]
        found += [mixture(ha.method_named("hyperformer++", {field: False}), seed) for field in ABLATIONS]
    return found
