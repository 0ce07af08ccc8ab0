"""Compacter, Figure 4: full fine-tuning against Compacter++ on 100 to 4,000 training rows, five seeds."""

from dataclasses import replace

import hyperadapters as ha
from recipes import GLUE, TRAINING_ROWS, glue, method

EPOCHS = {100: 1000, 500: 200, 1000: 100, 2000: 50, 4000: 25}
SEEDS = (42, 112, 1234, 1111, 2222)


def experiments() -> list[ha.Experiment]:
    found = []
    for rows, epochs in EPOCHS.items():
        for name in ("full", "compacter++"):
            for task in GLUE:
                base = glue(method(name), task)
                text = replace(base.text, train_rows=min(rows, TRAINING_ROWS[task]))
                for seed in SEEDS:
                    training = replace(
                        base.training, epochs=epochs, batch_size=40, warmup_steps=0, evaluate_steps=250, seed=seed
                    )
                    found.append(replace(base, text=text, training=training))
    return found
