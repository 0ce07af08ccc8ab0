"""The statistics of the report, against scipy, closed forms and a worked example."""

import dataclasses
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from hyperadapters import METHODS, Experiment, NamedTask, Result, Training
from hyperadapters.measure import Cost
from hyperadapters.metrics import accuracy, bootstrap, question_exact_match
from hyperadapters.published import GLUE_COLUMNS, TABLE_1
from hyperadapters.summary import Estimate, average, estimate, label_of, overlap, tables, told_apart

PRINTED = {
    "full": 86.50,
    "houlsby": 85.78,
    "pfeiffer": 86.32,
    "adapterdrop": 85.85,
    "lowrank": 85.82,
    "prompt-r": 71.49,
    "prompt-t": 75.95,
    "intrinsic-said": 85.45,
    "bitfit": 84.97,
    "phm": 86.40,
    "compacter": 86.62,
    "compacter++": 86.47,
}


@pytest.mark.parametrize("method", TABLE_1)
def test_the_published_columns_have_the_published_average(method):
    assert statistics.mean(TABLE_1[method]) == pytest.approx(PRINTED[method], abs=0.0051)


def test_the_interval_of_some_seeds_is_students():
    scores = [80.0, 82.0, 81.0, 84.0, 78.0]
    found = estimate(scores, rows=None)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(scores), scale=stats.sem(scores))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (found.mean, found.sd, found.seeds) == (81.0, pytest.approx(np.std(scores, ddof=1)), 5)


def test_chance_of_seeds_and_of_rows_adds_up():
    alone, rows = estimate([80.0, 82.0], rows=None), 3.0
    assert estimate([80.0, 82.0], rows=rows).half == pytest.approx(math.hypot(alone.half, rows))
    assert estimate([80.0], rows=rows).half == rows
    assert estimate([80.0], rows=None).half is None


def test_both_averages():
    """Two metrics of one task and one of another."""
    columns = {("a", "f1"): 90.0, ("a", "accuracy"): 80.0, ("b", "accuracy"): 70.0}
    columns = {column: Estimate(mean, 1, half=3.0) for column, mean in columns.items()}
    assert average(columns, per_task=False).mean == pytest.approx(80.0)
    assert average(columns, per_task=True).mean == pytest.approx(77.5)
    assert average(columns, per_task=False).half == pytest.approx(math.hypot(2 * 3, 3) / 3)
    assert average(columns, per_task=True).half == pytest.approx(math.hypot(3, 3) / 2)


def test_the_bootstrap_of_accuracy_is_near_the_binomial_interval():
    predictions, references = [1] * 160 + [0] * 40, [1] * 200
    low, high = bootstrap(accuracy, predictions, references)
    half = 1.96 * math.sqrt(0.8 * 0.2 / 200)
    assert low == pytest.approx(0.8 - half, abs=0.015)
    assert high == pytest.approx(0.8 + half, abs=0.015)


def test_multirc_is_resampled_by_question():
    """Ten questions of thirty alike answers: taken as 300 rows, none would ever be whole or wrong by chance."""
    references = [(1, str(i // 30)) for i in range(300)]
    predictions = [int(i < 150) for i in range(300)]
    low, high = bootstrap(question_exact_match, predictions, references)
    assert low <= 0.3
    assert high >= 0.7


ROWS = {"cola": 522, "sst2": 872, "mrpc": 204, "qqp": 40_430, "stsb": 750, "mnli": 9815, "qnli": 5463, "rte": 139}
"""Test rows of the papers' split."""


def result(method, task, metrics, *, lr=3e-3, seed=42, backbone="t5-base", rows=None, memory=10**9):
    """A result with these test metrics in percent; intervals as for a proportion of the task's test rows."""
    experiment = Experiment(
        method=METHODS[method], task=NamedTask(name=task), training=Training(lr=lr, seed=seed), backbone=backbone
    )
    if rows:
        experiment = dataclasses.replace(experiment, text=dataclasses.replace(experiment.text, train_rows=rows))
    shares = {name: value / 100 for name, value in metrics.items()}
    halves = {n: 1.96 * math.sqrt(p * (1 - p) / ROWS.get(task.split("/")[-1], 100)) for n, p in shares.items()}
    blank = dict.fromkeys(field.name for field in dataclasses.fields(Result))
    history = [{"step": step, **{n: v * step / 20 for n, v in shares.items()}} for step in (10, 20)]
    values = {
        "experiment": experiment.to_json(),
        "method": method,
        "task": task,
        "metrics": {"validation": shares, "test": shares},
        "trained": len(method) * 1000,
        "percent": len(method) / 10,
        "bytes": 4000,
        "cost": Cost(1, 1, 1, memory, 0.1, 0.1),
        "history": history,
        "intervals": {name: [shares[name] - half, shares[name] + half] for name, half in halves.items()},
    }
    return Result(**{**blank, **values})


def published_run(method):
    """The runs of one row of the paper's table, as if we had found just that."""
    scores = dict(zip(GLUE_COLUMNS, TABLE_1[method], strict=True))
    tasks = dict.fromkeys(task for task, _ in GLUE_COLUMNS)
    return [result(method, t, {m: score for (task, m), score in scores.items() if task == t}) for t in tasks]


def test_one_seed_cannot_tell_8662_from_8650():
    """Compacter and full fine-tuning in the paper's table: 0.12 apart, each known to about half a point at best."""
    (table,) = tables([*published_run("compacter"), *published_run("full")])
    averages = {line.label: table.average(line) for line in table.lines}
    assert averages["compacter"].mean == pytest.approx(86.62, abs=0.005)
    assert averages["full"].mean == pytest.approx(86.50, abs=0.005)
    assert 0.5 < averages["compacter"].half < 2
    assert overlap(averages["compacter"], averages["full"])
    (sentence,) = told_apart(table)
    assert sentence.startswith("compacter 86.62 and full 86.50 cannot be told apart with 1 seed(s)")


def test_a_large_difference_is_told_and_an_unknown_interval_is_said():
    (table,) = tables([*published_run("compacter"), *published_run("prompt-r")])
    assert told_apart(table) == []
    bare = [dataclasses.replace(r, intervals={}) for m in ("compacter", "full") for r in published_run(m)]
    (sentence,) = told_apart(tables(bare)[0])
    assert "no interval is known with 1 seed(s)" in sentence


def test_tables_part_by_benchmark_backbone_and_training_rows():
    runs = [result("full", "glue/rte", {"accuracy": 70}), result("full", "superglue/wic", {"accuracy": 60})]
    runs += [result("full", "glue/rte", {"accuracy": 60}, rows=n) for n in (100, 500)]
    runs.append(result("full", "glue/rte", {"accuracy": 50}, backbone="embedded"))
    assert [table.title for table in tables(runs)] == [
        "glue on embedded",
        "glue on t5-base",
        "glue on t5-base, 500 training rows",
        "glue on t5-base, 100 training rows",
        "superglue on t5-base",
    ]


def test_a_line_that_lacks_a_task_has_no_average():
    runs = [result("full", task, {"accuracy": 70}) for task in ("glue/rte", "glue/sst2")]
    (table,) = tables([*runs, result("phm", "glue/rte", {"accuracy": 99})])
    averages = {line.label: table.average(line) for line in table.lines}
    assert averages["phm"] is None
    assert averages["full"].mean == pytest.approx(70)


def test_a_method_is_called_by_its_nearest_preset():
    assert label_of(METHODS["compacter++"]) == "compacter++"
    assert label_of(dataclasses.replace(METHODS["compacter++"], n=8)) == "compacter++ (n = 8)"
