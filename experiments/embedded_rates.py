"""Which learning rate suits each method on the embedded T5, by validation on the demo task.

python experiments/embedded_rates.py results/embedded-rates.json
"""

import json
import sys
from pathlib import Path

import torch

import hyperadapters as ha

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def best_validation_score(method: str, rate: float) -> float:
    """The best epoch's mean metric on validation; 0 where training diverged."""
    backbone, tokenizer = ha.load_backbone("embedded")
    data = ha.load_data("demo/paraphrase", tokenizer)
    torch.manual_seed(42)
    delta = ha.attach(backbone, ha.METHODS[method])
    try:
        fitted = ha.fit(delta, data, ha.Training(lr=rate, epochs=6), quiet=True)
    except ha.NonFiniteLossError:
        return 0.0
    return max(entry["accuracy"] for entry in fitted.history)


def main() -> None:
    path = Path(sys.argv[1])
    found = json.loads(path.read_text()) if path.exists() else {}
    for method in ("houlsby", "compacter", "compacter++", "lowrank", "phm", "full"):
        for rate in RATES:
            key = f"{method} {rate:g}"
            if key not in found:
                found[key] = best_validation_score(method, rate)
                print(f"{key}: {100 * found[key]:.2f}", flush=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
