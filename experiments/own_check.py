"""The defaults for own files, as a user meets them, on the ten real sets: does every one beat a model of the words?

    python -m experiments.own_sets DATA out/own-sets
    MINILM=FOLDER hyperadapters sweep experiments/own_check.py --output out/own-check --jobs 2 --pack off
    python -m experiments.documents.own_check_table results/own-check.json out/own-check

Each result has the model of the words beside its score (`baselines`). The sets in `HELD_OUT` took no part in the search
for rates and steps. With KNOWN=results/own-check.json the runs that the table has already are left out, and it keeps
them: so the grid can be made in several parts.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import hyperadapters as ha
from hyperadapters.backbones import kind_and_width
from hyperadapters.methods import method_named
from hyperadapters.runs import text_for, training_for
from own_rates import MINILM, own
from own_sets import HELD_OUT, SEARCH

ROWS, SEEDS, METHODS = (600, 200, 2000), (1, 2, 3), ("compacter++", "houlsby")
KNOWN = os.environ.get("KNOWN", "")
"""The table whose runs are left out; empty: all are run."""


def place_of(name: str, rows: int, method: str) -> str:
    """Return what the table calls the runs of a method on so many rows of a set."""
    return f"{name}, {rows} rows, {method}"


def rows_kept(name: str, rows: int) -> int:
    """Return how many of some rows a set has: SciTail's are few."""
    return min(rows, 1000) if name == "scitail" else rows


def with_defaults(name: str, rows: int, method: str, backbone: str, seed: int) -> ha.Experiment:
    """Return the run that `hyperadapters train --train ... --max-train ROWS --seed SEED` plans."""
    task = own(name, rows, method, 1e-3, backbone).task
    rate = method_named(method).suggested_rate(*kind_and_width(backbone))
    return ha.Experiment(
        method=method_named(method),
        backbone=backbone,
        task=task,
        text=replace(text_for(task), train_rows=rows_kept(name, rows)),
        training=ha.Training(lr=rate, seed=seed, **training_for(task)),
    )


def experiments() -> list[ha.Experiment]:
    """Return all runs, or those that are not known: those that tell most come first."""
    known = json.loads(Path(KNOWN).read_text(encoding="utf-8")) if KNOWN else {}
    return [
        with_defaults(name, rows, method, MINILM or "embedded", seed)
        for method in METHODS
        for seed in SEEDS
        for rows in ROWS
        for name in (*SEARCH, *HELD_OUT)
        if str(seed) not in known.get(place_of(name, rows_kept(name, rows), method), {})
    ]
