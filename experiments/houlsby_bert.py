"""Houlsby et al. (arXiv:1902.00751v2), Table 1 and Figures 1 and 3 in form: an encoder, adapters of many sizes.

On a small encoder and the five tasks of GLUE whose whole training sets were available. Sizes and rates are chosen on
validation. Batches of 32, warm-up over a tenth of the steps, truncated at 128 tokens, as in the paper; its erf-GELU
too. Initialisation differs: N(0, 0.01²) here, a truncated normal of 1e-3 there. Variables of the environment:

* HYPERADAPTERS_ENCODER: the encoder's folder or name; MiniLM-L6 without it;
* HYPERADAPTERS_GLUE: the folder of the tasks; without it they come from the Hub;
* HYPERADAPTERS_ROWS: limits the training rows;
* HYPERADAPTERS_RATES: a file that `documents/choose_rates.py` wrote; it leaves one rate to each method.

The runs stand in an order that leaves a smaller table whole when a sweep is stopped: all methods on the first task at
their first rate, then at the others, then the next task, the other seeds, then the other methods and sizes.
"""

import json
import os
from pathlib import Path

import hyperadapters as ha
from recipes import TRAINING_ROWS, method, name_of

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
    """Return Houlsby's adapters in several sizes."""
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
    """Return the rates to choose among or, with HYPERADAPTERS_RATES, the chosen one.

    A method whose rate was not chosen has that of the first size of Houlsby's adapters.
    """
    if CHOSEN:
        chosen = json.loads(Path(CHOSEN).read_text(encoding="utf-8"))["chosen"]
        return (chosen.get(name_of(row)) or chosen[name_of(adapters(SIZES)[0])],)
    return next((found for name, found in RATES.items() if type(ha.METHODS[name]) is type(row)), OTHER_RATES)


def run(row: ha.Method, task: str, rate: float, seed: int) -> ha.Experiment:
    """Return one run of a method on a task."""
    rows = min(ROWS or TRAINING_ROWS[f"glue/{task}"], TRAINING_ROWS[f"glue/{task}"])
    warmup = EPOCHS * rows // BATCH // 10
    return ha.Experiment(
        method=row,
        task=ha.NamedTask(name=f"glue/{task}", data=GLUE_FOLDER),
        training=ha.Training(lr=rate, epochs=EPOCHS, batch_size=BATCH, warmup_steps=warmup, seed=seed),
        backbone=BACKBONE,
        text=ha.Text(train_rows=rows if ROWS else None, pooling="model"),
    )


def experiments() -> list[ha.Experiment]:
    """Return every method on every task at its rates, three seeds each."""
    parts = [(rows, seed) for rows in (METHODS, OTHERS, adapters(MORE_SIZES)) for seed in SEEDS]
    return [
        run(row, task, rates(row)[number], seed)
        for rows, seed in parts
        for task in TASKS
        for number in range(1 if CHOSEN else 3)
        for row in rows
    ]
