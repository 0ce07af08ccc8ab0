"""The learning rates to start from on small encoders, of methods that `own_rates.py` has no grids of: one race each.

    python -m experiments.own_sets DATA out/own-sets
    MINILM=FOLDER python -m experiments.raced_rates out/raced-rates
    python -m experiments.documents.races_table out/raced-rates results/raced-rates.json

On a user's own files, 600 rows of a set, with the settings that such files start from: methods of many tasks on SST-2
and MRPC together, the others on each. Three or four rates, half a decade apart, of which the better half goes on after
20 and 40 % of the steps, by validation alone. Methods stand in order of worth; started again, it goes on where it was.
JOBS limits how many runs go on at once.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import hyperadapters as ha
from encoder_evidence import race_first
from hyperadapters._utils import console
from hyperadapters.runs import text_for
from hyperadapters.sweeps import local_executor
from own_check import with_defaults
from own_rates import MINILM

SETS = ("sst2", "mrpc")
ROWS, STEPS = 600, 304
"""Of each set; steps are of 16 rows, as eight passes give."""
LOW, MIDDLE, HIGH = (1e-5, 3e-5, 1e-4, 3e-4), (3e-4, 1e-3, 3e-3, 1e-2), (1e-3, 3e-3, 1e-2, 3e-2)
TOGETHER: dict[str, tuple[float, ...]] = {
    "hyperformer++": LOW,
    "adapters-multitask": MIDDLE[:3],
    "hyper-compacter": (1e-4, 3e-4, 1e-3, 3e-3),
    "full-multitask": LOW[1:],
    "hyperformer": LOW[1:],
    "hyper-side": MIDDLE[:3],
    "hyper-phm": LOW[1:],
}
APART: dict[str, tuple[float, ...]] = {
    "side": MIDDLE,
    "norms": HIGH,
    "lowrank": MIDDLE,
    "phm": MIDDLE,
    "adapterdrop": MIDDLE,
    "side-compacter": MIDDLE,
    "peft:ia3": HIGH,
    "prompt-t": (1e-2, 3e-2, 1e-1, 3e-1),
    "prompt-r": (1e-2, 3e-2, 1e-1, 3e-1),
    "intrinsic-said": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
}


def run_on(names: tuple[str, ...], method: str, rate: float) -> ha.Experiment:
    """Return the run of one rate on a set, or on several together."""
    alone = [with_defaults(name, ROWS, method, MINILM, seed=1) for name in names]
    first = alone[0]
    steps = STEPS * len(names)
    training = replace(first.training, lr=rate, steps=steps, evaluate_steps=steps // 10, patience=None)
    if len(names) == 1:
        return replace(first, training=training)
    task = ha.MixtureTask(tasks=tuple(replace(run.task, name=name) for run, name in zip(alone, names, strict=True)))
    text = replace(text_for(task), train_rows=ROWS)
    return replace(first, task=task, text=text, training=training)


def main() -> None:
    output, executor = Path(sys.argv[1]), local_executor(int(os.environ.get("JOBS", "2")))
    plan = [(SETS, method, rates) for method, rates in TOGETHER.items()]
    plan += [((name,), method, rates) for name in SETS for method, rates in APART.items()]
    for names, method, rates in plan:
        (winner,) = race_first([run_on(names, method, rate) for rate in rates], output, executor)
        console.print(f"{method} on {' and '.join(names)}: {winner.training.lr:g}")


if __name__ == "__main__":
    main()
