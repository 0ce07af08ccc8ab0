"""Entries for PEFT's comparison of methods (its folder `method_comparison/MetaMathQA/experiments`), in PEFT's format.

    python -m experiments.peft_entries experiments/method_comparison

Where PEFT's repository is checked out, copy the folders into its own and run there, with the package imported first:

    python -c 'import hyperadapters, runpy; runpy.run_path("run.py", run_name="__main__")' -v experiments/compacter/...
"""

import json
import sys
from pathlib import Path

import hyperadapters as ha

WIDTH = 3072
"""Of Llama-3.2-3B, the model of that comparison."""
ENTRIES = {
    "compacter/llama-3.2-3B-n4-bottleneck96": ha.Compacter(n=4, bottleneck=96),
    "compacterpp/llama-3.2-3B-n4-bottleneck96": ha.Compacter(n=4, bottleneck=96, positions=("feed_forward",)),
    "houlsby/llama-3.2-3B-bottleneck64": ha.Adapter(bottleneck=64),
}
"""The folder of each entry, and its method."""


def write(place: Path) -> None:
    """Write the two files of every entry: the adapter's configuration, and the training that is not PEFT's default."""
    for name, method in ENTRIES.items():
        ha.PeftConfig.of(method, task_type="CAUSAL_LM").save_pretrained(str(place / name))
        rate = method.suggested_rate("decoder", WIDTH)
        training = {"optimizer_kwargs": {"lr": rate, "weight_decay": 0.0}}
        (place / name / "training_params.json").write_text(json.dumps(training, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
