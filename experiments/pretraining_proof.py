"""Did pre-training take? Full fine-tuning of the embedded T5 against the same network from random weights.

    hyperadapters sweep experiments/pretraining_proof.py --data DATA --output results/pretraining-proof --jobs 2
    python experiments/pretraining_proof.py DATA results/pretraining-proof results/pretraining-proof.json

The second command sums up: mean and standard deviation over three seeds, the margin, and logistic regression on bags
of words beside them. Either arm takes the rate that validates better with the first seed (`RATES`).
"""

import json
import statistics
import sys
from pathlib import Path

import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer

import hyperadapters as ha
from hyperadapters.backbone import embedded_folder
from hyperadapters.run import RESULT, read_result

RANDOM = "build/random-t5"
TASKS = {
    "glue/mrpc": (3668, 4),
    "glue/cola": (8551, 3),
    "glue/sst2": (6000, 3),
    "glue/qnli-dev": (2500, 4),
    "imdb": (1500, 3),
}
"""Training rows and epochs: the large sets are cut to what two cores do in minutes."""
RATES = {"embedded": 3e-4, RANDOM: 3e-4}
SEEDS = (1, 2, 3)


def random_backbone() -> str:
    """The embedded T5's architecture and tokenizer with fresh weights; its folder."""
    folder = Path(RANDOM)
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        config = AutoConfig.from_pretrained(embedded_folder())
        AutoTokenizer.from_pretrained(embedded_folder()).save_pretrained(folder)
        AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    return RANDOM


def experiment(backbone: str, task: str, rate: float, seed: int) -> ha.Experiment:
    rows, epochs = TASKS[task]
    return ha.Experiment(
        method=ha.METHODS["full"],
        backbone=backbone,
        task=ha.NamedTask(name=task),
        text=ha.Text(train_rows=rows),
        training=ha.Training(lr=rate, epochs=epochs, warmup_steps=50, seed=seed, checkpoint_seconds=600),
    )


def experiments() -> list[ha.Experiment]:
    arms = (random_backbone(), "embedded")
    return [experiment(arm, task, RATES[arm], seed) for task in TASKS for arm in arms for seed in SEEDS]


def bag_of_words(task: str, data: Path) -> float:
    """Mean test metric of logistic regression on words and pairs of words; C chosen on validation."""
    rows, _ = TASKS[task]
    found = ha.TASKS[task]
    examples = found.examples(data)
    order = torch.randperm(len(examples["train"]), generator=torch.Generator().manual_seed(SEEDS[0])).tolist()
    train = [examples["train"][i] for i in order[:rows]]
    bag = CountVectorizer(ngram_range=(1, 2), binary=True)
    features = bag.fit_transform([row.source for row in train])

    def score(model: LogisticRegression, split: str) -> float:
        answers = model.predict(bag.transform([row.source for row in examples[split]]))
        values = [found.form.target.decode(answer) for answer in answers]
        right = [found.form.target.decode(row.target) for row in examples[split]]
        return statistics.mean(metric(values, right) for metric in found.metrics)

    models = [LogisticRegression(C=c, max_iter=1000).fit(features, [r.target for r in train]) for c in (0.01, 0.1, 1)]
    return score(max(models, key=lambda model: score(model, "validation")), "test")


def summary(data: Path, folder: Path) -> dict[str, object]:
    """Each task's test score (mean of its metrics, ×100) by arm."""
    results = [read_result(path.parent) for path in folder.glob(f"*/{RESULT}")]
    table: dict[str, object] = {}
    for task in TASKS:
        row: dict[str, object] = {"bag of words": 100 * bag_of_words(task, data)}
        for name, backbone in (("random", RANDOM), ("pretrained", "embedded")):
            scores = [
                100 * result.score
                for result in results
                if result.task == task and result.experiment["backbone"] == backbone
                if result.experiment["training"]["lr"] == RATES[backbone]
            ]
            row[name] = {"mean": statistics.mean(scores), "sd": statistics.stdev(scores), "scores": scores}
        row["margin"] = row["pretrained"]["mean"] - row["random"]["mean"]  # type: ignore[index]
        table[task] = row
    return table


def main() -> None:
    data, folder, output = map(Path, sys.argv[1:])
    output.write_text(json.dumps(summary(data, folder), indent=1) + "\n")


if __name__ == "__main__":
    main()
