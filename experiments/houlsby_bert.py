"""Houlsby et al. (arXiv:1902.00751v2), Table 1 and Figures 1 and 3 in form: an encoder, adapters of many sizes.

On a small encoder (MiniLM-L6, or any whose folder is given in HYPERADAPTERS_ENCODER) and the five tasks of GLUE whose
whole training sets are at hand, in the folder HYPERADAPTERS_GLUE, from the Hub without it. Sizes, rates and epochs are
chosen on validation. Batches of 32, warm-up over a tenth of the steps, truncated at 128 tokens, as in the paper; its
erf-GELU too. Initialisation differs: N(0, 0.01²) here, a truncated normal of 1e-3 there.
"""

import os

import hyperadapters as ha
from recipes import TRAINING_ROWS, method

BACKBONE = os.environ.get("HYPERADAPTERS_ENCODER", "nreimers/MiniLM-L6-H384-uncased")
GLUE_FOLDER = os.environ.get("HYPERADAPTERS_GLUE", "")
TASKS = ("cola", "sst2", "mrpc", "rte", "stsb")
SIZES = (8, 16, 32, 64, 128, 256)
RATES = {"full": (3e-5, 1e-4), "bitfit": (3e-4, 3e-3), "norms": (3e-4, 3e-3)}
"""The paper's for the rest: 3e-4 and 3e-3 (3e-5 never won for adapters)."""
SEEDS = (42, 43, 44)
BATCH = 32
EPOCHS = 3


def methods() -> list[ha.Method]:
    """Full fine-tuning, adapters of every size, Compacter, BitFit, norms, the head alone."""
    return [
        method("full"),
        *(method("houlsby", bottleneck=size, activation="gelu") for size in SIZES),
        method("compacter"),
        method("compacter++"),
        method("bitfit"),
        method("norms"),
        method("norms", norms=False),
    ]


def experiments() -> list[ha.Experiment]:
    """Every method on every task at its rates, three seeds each."""
    found = []
    for task in TASKS:
        steps = EPOCHS * TRAINING_ROWS[f"glue/{task}"] // BATCH
        for row in methods():
            preset = next((name for name in RATES if type(ha.METHODS[name]) is type(row)), "")
            for rate in RATES.get(preset, (3e-4, 3e-3)):
                for seed in SEEDS:
                    training = ha.Training(
                        lr=rate, epochs=EPOCHS, batch_size=BATCH, warmup_steps=steps // 10, seed=seed
                    )
                    named = ha.NamedTask(name=f"glue/{task}", data=GLUE_FOLDER)
                    found.append(ha.Experiment(method=row, task=named, training=training, backbone=BACKBONE))
    return found
