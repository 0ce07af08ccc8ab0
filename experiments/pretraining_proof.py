"""Did pre-training take? Full fine-tuning of the embedded T5 against the same network from random weights.

    hyperadapters sweep experiments/pretraining_proof.py --data DATA --output results/pretraining-proof --jobs 2
    python -m experiments.documents.pretraining_table DATA results/pretraining-proof results/pretraining-proof.json

The second command prints the table of docs/results/pretraining.md.
"""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer

import hyperadapters as ha
from hyperadapters.backbones import embedded_folder

RANDOM = "build/random-t5"
TASKS = {
    "glue/sst2": (3000, 3),
    "glue/cola": (6000, 8),
    "glue/mrpc": (3668, 4),
    "glue/qnli-dev": (1500, 3),
    "imdb": (800, 3),
}
"""Training rows and epochs: the large sets are cut to what two cores do in minutes. CoLA takes the longest to learn."""
EVALUATION_ROWS = {"imdb": 2000}
"""Of IMDB's 25,000 test rows."""
ARMS = {"random": RANDOM, "pretrained": "embedded"}
RATES = {"glue/cola": 1e-3}
"""Where it is not 3e-4: there CoLA stays with the majority class."""
SEEDS = (1, 2, 3)


def random_backbone() -> str:
    """Write the embedded T5's architecture and tokenizer with fresh weights, once; return the folder."""
    folder = Path(RANDOM)
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        config = AutoConfig.from_pretrained(embedded_folder())
        AutoTokenizer.from_pretrained(embedded_folder()).save_pretrained(folder)
        AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    return RANDOM


def experiment(backbone: str, task: str, seed: int) -> ha.Experiment:
    """Return one run of full fine-tuning."""
    rows, epochs = TASKS[task]
    return ha.Experiment(
        method=ha.METHODS["full"],
        backbone=backbone,
        task=ha.NamedTask(name=task),
        text=ha.Text(train_rows=rows, evaluation_rows=EVALUATION_ROWS.get(task)),
        training=ha.Training(
            lr=RATES.get(task, 3e-4), epochs=epochs, warmup_steps=50, seed=seed, checkpoint_seconds=600
        ),
    )


def experiments() -> list[ha.Experiment]:
    random_backbone()
    return [experiment(backbone, task, seed) for task in TASKS for backbone in ARMS.values() for seed in SEEDS]
