"""Many tasks in one model (HyperFormer, arXiv:2106.04489v1, §3), on the embedded T5, small enough for one CPU core.

    hyperadapters sweep experiments/multitask.py --data DATA --output results/multitask --keep-adapters
    python -m experiments.documents.multitask_tables results/multitask results/transfer

Eight tasks of GLUE and SuperGLUE. The paper's mixture is GLUE's eight; of QQP, MNLI and QNLI the training sets were not
available. All arms see the same number of rows: a single-task adapter takes an eighth of the steps. Every arm has one
seed before any has two, and the arms that transfer.py starts from come first.
"""

import hyperadapters as ha

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
EVALUATION_ROWS = 150
"""At most, of each task's validation and test rows."""
SOURCE_LENGTH = 64
"""Tokens; BoolQ's passages are cut."""
STEPS = 320
BATCH = 32
EVALUATIONS = 2
SEEDS = (1, 2, 3)

ARMS = ("full-multitask", "adapters-multitask", "hyperformer++", "hyper-compacter", "hyperformer", "hyper-phm")
ABLATIONS = ("adapter_blocks", "conditional_norm", "task_projector", "norms")
"""Fields of HyperFormer++ that are off, one at a time (HyperFormer, §4.1)."""


def run_of(method: ha.Method, task: ha.NamedTask | ha.MixtureTask, steps: int, seed: int) -> ha.Experiment:
    """Return a run on one of the tasks or all."""
    alone_on_cb = task == ha.NamedTask(name="superglue/cb")
    return ha.Experiment(
        method=method,
        backbone="embedded",
        task=task,
        text=ha.Text(
            source_length=SOURCE_LENGTH, train_rows=250 if alone_on_cb else ROWS, evaluation_rows=EVALUATION_ROWS
        ),
        training=ha.Training(
            lr=method.suggested_rate("encoder-decoder", 144),
            steps=steps,
            batch_size=BATCH,
            warmup_steps=steps // 10,
            evaluate_steps=steps // EVALUATIONS,
            seed=seed,
            checkpoint_seconds=600,
        ),
    )


def experiments() -> list[ha.Experiment]:
    mixture = ha.MixtureTask.named(*TASKS)
    arms = [ha.METHODS[name] for name in ARMS]
    ablations = [ha.method_named("hyperformer++", {field: False}) for field in ABLATIONS]
    single = ha.METHODS["houlsby"]
    found = []
    for seed in SEEDS:
        found += [run_of(method, mixture, STEPS, seed) for method in arms]
        found += [run_of(single, ha.NamedTask(name=task), STEPS // len(TASKS), seed) for task in TASKS]
        found += [run_of(method, mixture, STEPS, seed) for method in ablations]
    return found
