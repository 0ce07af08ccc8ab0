"""Every method on the embedded T5, real data, text to text: the papers' comparison in our numbers.

    hyperadapters sweep experiments/evidence.py --data DATA --output results/evidence --jobs 2
    hyperadapters report results/evidence -o docs/evidence

The cheapest tasks come first, so that a grid that was stopped is a smaller honest table. Rates are those chosen on
the demo tasks (docs/embedded.md): no figure of these tasks chose them.
"""

import hyperadapters as ha
from hyperadapters.experiment import suggested_rate

TASKS = {
    "superglue/cb": 20,
    "superglue/copa": 20,
    "glue/rte": 6,
    "glue/mrpc": 6,
    "superglue/wic": 6,
    "glue/stsb": 6,
    "glue/cola": 4,
    "glue/sst2": 3,
    "glue/qnli-dev": 4,
    "superglue/boolq-1886": 4,
}
"""Epochs of each; CB, COPA, RTE, MRPC, STS-B and CoLA have 20 in the papers."""
ROWS = {"glue/sst2": 10_000}
METHODS = (
    "full",
    "compacter",
    "compacter++",
    "houlsby",
    "bitfit",
    "pfeiffer",
    "lowrank",
    "phm",
    "prompt-r",
    "prompt-t",
    "intrinsic-said",
)
SEEDS = (1, 2, 3)


def experiments() -> list[ha.Experiment]:
    return [
        ha.Experiment(
            method=ha.METHODS[name],
            backbone="embedded",
            task=ha.NamedTask(name=task),
            text=ha.Text(train_rows=ROWS.get(task)),
            training=ha.Training(
                lr=suggested_rate(ha.METHODS[name], "embedded"), epochs=epochs, seed=seed, checkpoint_seconds=600
            ),
        )
        for seed in SEEDS
        for task, epochs in TASKS.items()
        for name in METHODS
    ]
