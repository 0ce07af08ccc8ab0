"""Houlsby et al., Table 1: GLUE, BERT, adapters of size 8, 64, 256 against full fine-tuning.

Adapters as in the paper's code: erf-GELU, projections from a truncated normal of deviation 1e-3. The best size, rate
and number of epochs are chosen on validation.
"""

from dataclasses import replace

import hyperadapters as ha
from recipes import GLUE, TRAINING_ROWS, glue, method

BACKBONE = "google-bert/bert-base-uncased"


def run(row: ha.Method, task: str, epochs: int, rate: float) -> ha.Experiment:
    """Return one run: batches of 32, warm-up over a tenth of the steps, answers by the head."""
    base = glue(row, task, BACKBONE)
    warmup = epochs * TRAINING_ROWS[task] // 32 // 10
    training = replace(base.training, lr=rate, epochs=epochs, batch_size=32, warmup_steps=warmup)
    return replace(base, training=training, evaluation=ha.Evaluation())


def experiments() -> list[ha.Experiment]:
    published = {"activation": "gelu", "init": "truncated"}
    rows = [method("full"), *(method("houlsby", bottleneck=size, **published) for size in (8, 64, 256))]
    return [
        run(row, task, epochs, rate)
        for row in rows
        for task in GLUE
        for epochs in (3, 20)
        for rate in (3e-5, 3e-4, 3e-3)
    ]
