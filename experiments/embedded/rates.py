"""Finds the learning rate that suits each method on the embedded T5, by validation on demo tasks.

python experiments/embedded/rates.py results/embedded-rates.json
python experiments/embedded/rates.py results/embedded-rates-multitask.json --mixture
"""

import json
import sys
from pathlib import Path
from statistics import mean

import torch

import hyperadapters as ha

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
METHODS = ("houlsby", "compacter", "compacter++", "lowrank", "phm", "full")

MIXTURE = ("demo/paraphrase", "demo/sentiment")
MIXTURE_RATES = (1e-3, 3e-3, 3e-4)
MIXTURE_TRAINING = {"steps": 240, "batch_size": 16, "warmup_steps": 24, "evaluate_steps": 120}
MIXTURE_METHODS = (
    "hyperformer++",
    "adapters-multitask",
    "hyper-compacter",
    "hyperformer",
    "hyper-phm",
    "full-multitask",
)


def best_validation_score(method: str, rate: float, tasks: tuple[str, ...], training: dict[str, int]) -> float:
    """Return the best evaluation's mean accuracy on validation, 0 to 1; 0 where training diverged."""
    backbone, tokenizer = ha.load_backbone("embedded")
    parts = tuple(ha.load_data(task, tokenizer) for task in tasks)
    torch.manual_seed(42)
    delta = ha.attach(backbone, ha.METHODS[method], tasks=tasks if len(tasks) > 1 else ())
    data = ha.Mixture(parts) if len(tasks) > 1 else parts[0]
    try:
        fitted = ha.fit(delta, data, ha.Training(lr=rate, **training), quiet=True)
    except ha.NonFiniteLossError:
        return 0.0
    accuracies = [[value for name, value in entry.items() if name.endswith("accuracy")] for entry in fitted.history]
    return max(map(mean, accuracies))


def main() -> None:
    path, mixed = Path(sys.argv[1]), "--mixture" in sys.argv
    found = json.loads(path.read_text()) if path.exists() else {}
    how = (MIXTURE, MIXTURE_TRAINING) if mixed else (("demo/paraphrase",), {"epochs": 6})
    for method in MIXTURE_METHODS if mixed else METHODS:
        for rate in MIXTURE_RATES if mixed else RATES:
            key = f"{method} {rate:g}"
            if key not in found:
                found[key] = best_validation_score(method, rate, *how)
                print(f"{key}: {100 * found[key]:.2f}", flush=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
