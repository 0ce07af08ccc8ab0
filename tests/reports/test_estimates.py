"""The statistics of the report, against scipy, closed forms and a worked example."""

import dataclasses
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from hyperadapters.papers.published_scores import _COMPACTER_PLUS_PLUS, _TABLE_1
from hyperadapters.reports.estimates import _average, _Estimate
from hyperadapters.reports.tables import _score_tables
from hyperadapters.tasks.metrics import accuracy, bootstrap, question_exact_match
from results import result


def test_the_published_columns_have_the_published_average():
    assert statistics.mean(_COMPACTER_PLUS_PLUS.values()) == pytest.approx(_TABLE_1["compacter++"].average, abs=0.0051)


def seeds(*scores):
    return dict(enumerate(scores))


def test_the_interval_of_some_seeds_is_students():
    scores = [80.0, 82.0, 81.0, 84.0, 78.0]
    found = _Estimate(seeds(*scores))
    low, high = stats.t.interval(0.95, 4, loc=np.mean(scores), scale=stats.sem(scores))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (found.mean, found.sd, found.seeds) == (81.0, pytest.approx(np.std(scores, ddof=1)), 5)


def test_chance_of_seeds_and_of_rows_adds_up():
    alone, rows = _Estimate(seeds(80.0, 82.0)), (3.0, 2.0)
    below, _ = alone.margin
    assert _Estimate(seeds(80.0, 82.0), rows).margin == pytest.approx((math.hypot(below, 3), math.hypot(below, 2)))
    assert _Estimate(seeds(80.0), rows).margin == rows
    assert _Estimate(seeds(80.0)).margin is None


def test_an_interval_ends_where_scores_do():
    assert (_Estimate(seeds(99.0), (4.0, 3.0)).low, _Estimate(seeds(99.0), (4.0, 3.0)).high) == (95.0, 100.0)
    assert _Estimate(seeds(1.0, 3.0)).low == 0.0
    assert _Estimate(seeds(-1.0, 3.0), lowest=-100.0).low < -1.0


def test_with_one_seed_the_interval_is_the_bootstraps_own():
    """49 of 50 right: to the right there is less room."""
    references = [1] * 50
    low, high = bootstrap(accuracy, [0, *references[1:]], references)
    run = result("full", "glue/rte", {"accuracy": 98})
    (table,) = _score_tables([dataclasses.replace(run, intervals={"accuracy": [low, high]})])
    (row,) = table.rows
    for found in (row.columns["glue/rte", "accuracy"], table.average(row)):
        assert (found.low, found.high) == (pytest.approx(100 * low), pytest.approx(100 * high)) == (94, 100)
    signed = result("full", "glue/cola", {"matthews": 1})
    found = _score_tables([dataclasses.replace(signed, intervals={"matthews": [-0.1, 0.1]})])[0].rows[0]
    assert found.columns["glue/cola", "matthews"].low == pytest.approx(-10)


def test_both_averages():
    """Two metrics of one task and one of another."""
    columns = {("a", "f1"): 90.0, ("a", "accuracy"): 80.0, ("b", "accuracy"): 70.0}
    columns = {column: _Estimate({1: mean}, (3.0, 6.0)) for column, mean in columns.items()}
    assert _average(columns).mean == pytest.approx(80.0)
    assert _average(columns, per_task=True).mean == pytest.approx(77.5)
    assert _average(columns).margin == pytest.approx((math.hypot(2 * 3, 3) / 3, math.hypot(2 * 6, 6) / 3))
    assert _average(columns, per_task=True).margin == pytest.approx((math.hypot(3, 3) / 2, math.hypot(6, 6) / 2))


def test_an_average_spreads_over_seeds_as_the_averages_of_seeds_do():
    """Two tasks that move against each other: each spreads, their average does not."""
    columns = {("a", "f1"): _Estimate({1: 70.0, 2: 74.0}), ("b", "f1"): _Estimate({1: 64.0, 2: 60.0, 3: 0.0})}
    found = _average(columns)
    assert (found.mean, found.sd, found.seeds) == (67.0, 0.0, 2)
    assert _average({("a", "f1"): _Estimate({1: 1.0}), ("b", "f1"): _Estimate({2: 1.0})}) is None


def test_a_test_set_too_large_for_the_bootstrap_adds_nothing_to_an_average():
    columns = {("a", "f1"): _Estimate({1: 70.0}, (4.0, 4.0)), ("b", "f1"): _Estimate({1: 70.0})}
    assert _average(columns).margin == (2.0, 2.0)
    assert _average({("b", "f1"): _Estimate({1: 70.0})}).margin is None


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


def test_an_average_over_a_metric_without_an_interval_has_none_of_rows():
    """That of a large test set is narrow, and is left out; that of a metric that nobody resampled is not known."""
    known, unknown = _Estimate(seeds(80.0), (3.0, 2.0)), _Estimate(seeds(40.0))
    assert _average({("a", "accuracy"): known, ("b", "accuracy"): unknown}).margin == (1.5, 1.0)
    assert _average({("a", "accuracy"): known, ("a", "roc_auc"): unknown}).margin is None
