"""Houlsby et al. (arXiv:1902.00751v2), Table 1 and Figures 1 and 3 in form: an encoder, adapters of many sizes.

On a small encoder (MiniLM-L6, or any whose folder is given in HYPERADAPTERS_ENCODER) and the five tasks of GLUE whose
whole training sets were available, in the folder HYPERADAPTERS_GLUE, from the Hub without it; HYPERADAPTERS_ROWS limits
the training rows, and HYPERADAPTERS_RATES, a file of rates_chosen.py, leaves one rate to each method. Sizes and rates
are chosen on validation. Batches of 32, warm-up over a tenth of the steps, truncated at 128 tokens, as in the paper;
its erf-GELU too. Initialisation differs: N(0, 0.01²) here, a truncated normal of 1e-3 there.

The runs stand in an order that leaves a smaller table whole when a sweep is stopped: all methods on the first task at
their first rate, then at the others, then the next task, the other seeds, then the other methods and sizes.
"""

import json
import os
from pathlib import Path

import hyperadapters as ha
from rates_chosen import name_of
from recipes import TRAINING_ROWS, method

BACKBONE = os.environ.get("HYPERADAPTERS_ENCODER", "nreimers/MiniLM-L6-H384-uncased")
GLUE_FOLDER = os.environ.get("HYPERADAPTERS_GLUE", "")
ROWS = int(os.environ.get("HYPERADAPTERS_ROWS", "0")) or None
TASKS = ("sst2", "cola", "stsb", "mrpc", "rte")
"""From the shortest texts to the longest, but for one."""
SIZES, MORE_SIZES = (64, 8), (16, 32, 128, 256)
RATES = {
    "full": (1e-4, 3e-5, 3e-4),
    "houlsby": (1e-3, 3e-4, 3e-3),
    "compacter": (1e-2, 3e-3, 3e-2),
    "lowrank": (1e-2, 3e-3, 3e-2),
    "intrinsic-said": (1e-2, 3e-3, 3e-2),
    "prompt-r": (1e-1, 3e-2, 3e-1),
}
OTHER_RATES = (3e-3, 1e-3, 1e-2)
"""Three each, the likelier ones first; the others are those of PHM-adapters, norms, head and BitFit."""
CHOSEN = os.environ.get("HYPERADAPTERS_RATES", "")
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
OTHERS = [method(name) for name in ("pfeiffer", "lowrank", "phm", "intrinsic-said", "prompt-r", "prompt-t")]
"""The rest of what the package has."""


def rates(row: ha.Method) -> tuple[float, ...]:
    """What a method's rate is chosen among, or the one that was; that of the first size goes for those without."""
    if CHOSEN:
        chosen = json.loads(Path(CHOSEN).read_text(encoding="utf-8"))["chosen"]
        return (chosen.get(name_of(row)) or chosen[name_of(adapters(SIZES)[0])],)
    return next((found for name, found in RATES.items() if type(ha.METHODS[name]) is type(row)), OTHER_RATES)


def run(row: ha.Method, task: str, rate: float, seed: int) -> ha.Experiment:
    """A method on a task."""
    rows = min(ROWS or TRAINING_ROWS[f"glue/{task}"], TRAINING_ROWS[f"glue/{task}"])
    warmup = EPOCHS * rows // BATCH // 10
    return ha.Experiment(
        method=row,
        task=ha.NamedTask(name=f"glue/{task}", data=GLUE_FOLDER),
        training=ha.Training(lr=rate, epochs=EPOCHS, batch_size=BATCH, warmup_steps=warmup, seed=seed),
        backbone=BACKBONE,
        text=ha.Text(train_rows=rows if ROWS else None),
    )


def experiments() -> list[ha.Experiment]:
    """Every method on every task at its rates, three seeds each."""
    parts = [(rows, seed) for rows in (METHODS, OTHERS, adapters(MORE_SIZES)) for seed in SEEDS]
    return [
        run(row, task, rates(row)[number], seed)
        for rows, seed in parts
        for task in TASKS
        for number in range(1 if CHOSEN else 3)
        for row in rows
    ]
