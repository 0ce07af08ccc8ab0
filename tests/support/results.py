"""Results of runs that never were, and of published tables."""

import dataclasses
import math
import statistics

from conftest import UNSEEN
from hyperadapters import METHODS, Experiment, MixtureTask, NamedTask, Result, Training
from hyperadapters._utils import mean_score, metric_scale
from hyperadapters.papers.published_scores import _COMPACTER_PLUS_PLUS, _TABLE_1
from hyperadapters.training.profiling import Cost

ROWS = {"cola": 522, "sst2": 872, "mrpc": 204, "qqp": 40_430, "stsb": 750, "mnli": 9815, "qnli": 5463, "rte": 139}
"""Test rows of the papers' split."""
AVAILABLE = 10_000
"""Rows of every split of the tasks here, unless a test says otherwise."""


def result(method, task, metrics, *, lr=3e-3, seed=42, backbone="t5-base", rows=None, available=AVAILABLE, **fields):
    """A result with these test metrics in percent; intervals as for a proportion of the task's test rows.

    Several tasks with commas make a mixture. It was trained on `rows` of the `available` ones, without on all. Further
    fields are the method's, or of an experiment's JSON by section.
    """
    sections = {name: fields.pop(name) for name in ("start", "training", "validation") if name in fields}
    names = tuple(task.split(","))
    training = Training(lr=lr, seed=seed, **sections.get("training", {}))
    experiment = Experiment(
        method=dataclasses.replace(METHODS[method], **fields),
        task=MixtureTask.named(*names) if len(names) > 1 else NamedTask(name=task),
        training=training,
        backbone=backbone,
    )
    if rows:
        experiment = dataclasses.replace(experiment, text=dataclasses.replace(experiment.text, train_rows=rows))
    shares = {name: value / metric_scale(name).factor for name, value in metrics.items()}
    of_rows = {name: ROWS.get(name.split(".")[0] if len(names) > 1 else task.split("/")[-1], 100) for name in shares}
    halves = {n: 1.96 * math.sqrt(max(p * (1 - p), 0) / of_rows[n]) for n, p in shares.items()}
    history = [{"step": step, **{n: v * step / 20 for n, v in shares.items()}} for step in (10, 20)]
    trained = 1000 * len(method) + getattr(experiment.method, "bottleneck", 0)
    start = {"start": sections["start"]} if "start" in sections else {}
    on_validation = sections.get("validation", metrics)
    validation = {name: value / metric_scale(name).factor for name, value in on_validation.items()}
    values = {
        "experiment": experiment.to_json() | start,
        "method": method,
        "task": "+".join(names),
        "metrics": {"validation": validation, "test": shares},
        "averages": {"validation": mean_score(validation), "test": mean_score(shares)},
        "trained": trained,
        "total": 10**6,
        "percent": trained / 10**4,
        "by_kind": {"adapter": trained - 100, "norm": 100},
        "bytes": 4000,
        "cost": Cost(1, 1, 1, 10**9, 0.1, 0.1),
        "history": history,
        "intervals": {name: [shares[name] - half, shares[name] + half] for name, half in halves.items()},
        "versions": {"hyperadapters": "1"},
        "rows": {"train": rows or available, "validation": AVAILABLE, "test": AVAILABLE},
        "rows_available": {"train": available, "validation": AVAILABLE, "test": AVAILABLE},
    }
    return Result(**{**UNSEEN, **values})


def published_run(method):
    """A row of the paper's table as if we had found just that; the columns are Compacter++'s, moved to its average."""
    moved = _TABLE_1[method].average - statistics.mean(_COMPACTER_PLUS_PLUS.values())
    tasks = dict.fromkeys(task for task, _ in _COMPACTER_PLUS_PLUS)
    columns = {column: score + moved for column, score in _COMPACTER_PLUS_PLUS.items()}
    return [result(method, t, {m: score for (task, m), score in columns.items() if task == t}) for t in tasks]
