"""Houlsby et al., Table 1: GLUE, BERT, adapters of size 8, 64, 256 against full fine-tuning.

The best size, rate and number of epochs are chosen on validation.
"""

from dataclasses import replace

import hyperadapters as ha
from recipes import GLUE, TRAINING_ROWS, glue, method

BACKBONE = "google-bert/bert-base-uncased"


def experiments() -> list[ha.Experiment]:
    rows = [method("full"), *(method("houlsby", bottleneck=size) for size in (8, 64, 256))]
    found = []
    for row in rows:
        for task in GLUE:
            base = glue(row, task, BACKBONE)
            for epochs in (3, 20):
                warmup = epochs * TRAINING_ROWS[task] // 32 // 10
                for rate in (3e-5, 3e-4, 3e-3):
                    training = replace(base.training, lr=rate, epochs=epochs, batch_size=32, warmup_steps=warmup)
                    found.append(replace(base, training=training, evaluation=ha.Evaluation()))
    return found
