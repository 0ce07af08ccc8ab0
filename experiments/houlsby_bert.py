"""Houlsby et al. (arXiv:1902.00751v2), Table 1 and Figures 1 and 3 in form: an encoder, adapters of many sizes.

On a small encoder (MiniLM-L6, or any whose folder is given in HYPERADAPTERS_ENCODER) and the five tasks of GLUE whose
whole training sets are at hand, in the folder HYPERADAPTERS_GLUE, from the Hub without it; HYPERADAPTERS_ROWS limits
the training rows. Sizes and rates are chosen on validation. Batches of 32, warm-up over a tenth of the steps, truncated
at 128 tokens, as in the paper; its erf-GELU too. Initialisation differs: N(0, 0.01²) here, a truncated normal of 1e-3
there.

The runs stand in an order that leaves a smaller table whole when a sweep is stopped: first all methods on the task of
the shortest texts, then on the next; then the other seeds, then the other sizes.
"""

import os

import hyperadapters as ha
from recipes import TRAINING_ROWS, method

BACKBONE = os.environ.get("HYPERADAPTERS_ENCODER", "nreimers/MiniLM-L6-H384-uncased")
GLUE_FOLDER = os.environ.get("HYPERADAPTERS_GLUE", "")
ROWS = int(os.environ.get("HYPERADAPTERS_ROWS", "0")) or None
TASKS = ("cola", "sst2", "stsb", "mrpc", "rte")
"""From the shortest texts to the longest."""
SIZES, MORE_SIZES = (64, 8), (16, 32, 128, 256)
RATES = {"full": (3e-5, 1e-4), "bitfit": (3e-4, 3e-3), "norms": (3e-4, 3e-3)}
"""The paper's for the rest: 3e-4 and 3e-3 (3e-5 never won for adapters)."""
SEEDS = (42, 43, 44)
BATCH = 32
EPOCHS = 3


def adapters(sizes: tuple[int, ...]) -> list[ha.Method]:
    """Houlsby's adapters of several sizes."""
    return [method("houlsby", bottleneck=size, activation="gelu") for size in sizes]


METHODS = [
    *adapters(SIZES),
    method("full"),
    method("compacter"),
    method("compacter++"),
    method("bitfit"),
    method("norms"),
    method("norms", norms=False),
]
"""Those without adapters: layer norms and head, and the head alone."""


def runs(row: ha.Method, task: str, seed: int) -> list[ha.Experiment]:
    """A method on a task, at its rates."""
    rows = min(ROWS or TRAINING_ROWS[f"glue/{task}"], TRAINING_ROWS[f"glue/{task}"])
    warmup = EPOCHS * rows // BATCH // 10
    preset = next((name for name in RATES if type(ha.METHODS[name]) is type(row)), "")
    return [
        ha.Experiment(
            method=row,
            task=ha.NamedTask(name=f"glue/{task}", data=GLUE_FOLDER),
            training=ha.Training(lr=rate, epochs=EPOCHS, batch_size=BATCH, warmup_steps=warmup, seed=seed),
            backbone=BACKBONE,
            text=ha.Text(train_rows=rows if ROWS else None),
        )
        for rate in RATES.get(preset, (3e-4, 3e-3))
    ]


def experiments() -> list[ha.Experiment]:
    """Every method on every task, three seeds each."""
    order = [(METHODS, seed) for seed in SEEDS] + [(adapters(MORE_SIZES), seed) for seed in SEEDS]
    return [run for rows, seed in order for task in TASKS for row in rows for run in runs(row, task, seed)]
