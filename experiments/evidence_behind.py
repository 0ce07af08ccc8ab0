"""Why Compacter++ falls behind full fine-tuning on the embedded T5: one setting changed at a time, SST-2.

    hyperadapters sweep experiments/evidence_behind.py --data DATA --output results/evidence-behind --jobs 2
    python experiments/evidence_behind.py results/evidence-behind results/evidence-behind.json

Rate, warm-up, steps, bottleneck, n, rank, the slow weights, the sites, the output layer, each against the run of
`evidence.py`. The second command sums up and prints the table of docs/results.md.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import hyperadapters as ha
from evidence import chosen_rates, experiment, limited
from hyperadapters.runs import RESULT, read_result
from hyperadapters.sweeps import experiment_key

TASK, ROWS, EPOCHS, SEEDS = "glue/sst2", 2000, 3, (1, 2)
RATE = 3e-2
"""The largest that `evidence_rates.py` tried; where the search starts here."""
TRAINING: tuple[dict[str, Any], ...] = (
    {},
    {"lr": 1e-1},
    {"lr": 1e-2},
    {"warmup_steps": 0},
    {"warmup_steps": 60},
    {"epochs": 9},
)
FIELDS: tuple[dict[str, Any], ...] = (
    {"bottleneck": 96},
    {"n": 2},
    {"n": 12},
    {"rank": 4},
    {"shared_slow": False},
    {"train_slow": False},
    {"positions": ("attention", "feed_forward")},
    {"output_layer": True},
)
"""Changes of the method."""


def run(fields: dict[str, Any], training: dict[str, Any], seed: int) -> ha.Experiment:
    """Compacter++ with something changed."""
    base = limited(experiment("compacter++", TASK, RATE, seed, ROWS, epochs=EPOCHS))
    method = ha.method_named("compacter++", fields)
    return replace(base, method=method, training=replace(base.training, **training))


def cases() -> dict[str, list[ha.Experiment]]:
    """What was changed -> a run for each seed."""
    found = {}
    for method, training in [*(({}, changed) for changed in TRAINING), *((changed, {}) for changed in FIELDS)]:
        changes = ", ".join(f"{name} = {value}" for name, value in {**method, **training}.items())
        found[f"compacter++{f', {changes}' if changes else ''}"] = [run(method, training, seed) for seed in SEEDS]
    rate = chosen_rates()["full"]
    for epochs in (EPOCHS, 3 * EPOCHS):
        found[f"full, epochs = {epochs}"] = [
            limited(experiment("full", TASK, rate, seed, ROWS, epochs=epochs)) for seed in SEEDS
        ]
    return found


def experiments() -> list[ha.Experiment]:
    return [one for runs in cases().values() for one in runs]


def summary(folder: Path) -> dict[str, dict[str, Any]]:
    """What each change gives, of the runs that are done."""
    table = {}
    for name, runs in cases().items():
        folders = [folder / experiment_key(one) for one in runs]
        done = [read_result(place) for place in folders if (place / RESULT).exists()]
        scores = {split: [100 * result.averages[split] for result in done] for split in ("validation", "test")}
        if done:
            table[name] = {"trained": done[0].trained, **scores}
    return table


def markdown(table: dict[str, dict[str, Any]]) -> str:
    lines = [
        f"| {name} | {row['trained']:,} | {mean(row['validation']):.1f} | {mean(row['test']):.1f} |"
        for name, row in table.items()
    ]
    return "\n".join(["| | trained | validation | test |", "|---|---:|---:|---:|", *lines])


def main() -> None:
    folder, output = map(Path, sys.argv[1:])
    table = summary(folder)
    output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(markdown(table))


if __name__ == "__main__":
    main()
