"""Comparisons over the number of training rows."""

from hyperadapters.reports.notes import _table_notes
from hyperadapters.reports.row_counts import _ALL_ROWS, _compare_training_rows
from hyperadapters.reports.tables import _score_tables
from results import result


def test_scores_by_rows_are_of_methods_that_differ_in_rows_alone():
    runs = [result("full", "glue/rte", {"accuracy": 50 + n / 100}, rows=n) for n in (100, 500)]
    runs.append(result("phm", "glue/rte", {"accuracy": 70}, rows=500))
    (part,) = _compare_training_rows(runs)
    assert part.title == "Low-resource, glue on t5-base"
    assert list(part.tables) == [100, 500]
    assert [row.label for row in part.tables[500].rows] == ["full"]


def test_a_task_with_fewer_rows_takes_part_with_all_it_has():
    """RTE has 2,490 rows: at 4,000 it takes part with them; CoLA, whose 4,000 have not run, does not."""
    rows = {"glue/rte": (100, 2490), "glue/sst2": (100, 4000), "glue/cola": (100, 500)}
    have = {"glue/rte": 2490, "glue/sst2": 66_349, "glue/cola": 8551}
    runs = [
        result("full", task, {"accuracy": 50}, rows=n, available=have[task])
        for task, numbers in rows.items()
        for n in numbers
    ]
    (part,) = _compare_training_rows(runs)
    assert list(part.tables) == [100, 500, 4000]
    assert part.tables[100].tasks == ("glue/cola", "glue/rte", "glue/sst2")
    assert part.tables[500].tasks == ("glue/cola",)
    assert part.tables[4000].tasks == ("glue/rte", "glue/sst2")


def test_runs_on_all_rows_come_last_where_they_are_more_than_any_number():
    runs = [result("full", "glue/rte", {"accuracy": 50}, rows=n, available=2490) for n in (100, None)]
    runs += [result("full", "glue/mrpc", {"accuracy": 50}, rows=n, available=3668) for n in (100, 3668)]
    (part,) = _compare_training_rows(runs)
    assert list(part.tables) == [100, _ALL_ROWS]
    assert part.tables[_ALL_ROWS].tasks == ("glue/mrpc", "glue/rte")


def test_runs_from_a_trained_model_are_a_line_of_their_own():
    start = {"adapter": "out/mix", "digest": "1", "like": "rte", "freeze": False}
    runs = [result("hyperformer++", "scitail", {"accuracy": 50 + n}, rows=n, seed=s, start={**start, "digest": str(s)})
            for n in (4, 16) for s in (1, 2)]  # fmt: skip
    runs += [result("hyperformer++", "scitail", {"accuracy": 50}, rows=n) for n in (4, 16)]
    (part,) = _compare_training_rows(runs)
    assert part.title == "Few-shot transfer, scitail on t5-base"
    lines = {row.label: row for row in part.tables[16].rows}
    assert lines.keys() == {"hyperformer++", "hyperformer++, from a trained model"}
    assert lines["hyperformer++, from a trained model"].columns["scitail", "accuracy"].seeds == 2


def test_a_mixture_on_few_rows_stands_in_no_table_with_those_on_all():
    both = {"p.accuracy": 90, "q.accuracy": 90}
    runs = [result("hyperformer++", "demo/p,demo/q", both, available=2000)]
    runs += [result("hyperformer++", "demo/p,demo/q", both, rows=100, available=2000, seed=seed) for seed in (1, 2)]
    runs += [result("full-multitask", "demo/p,demo/q", both, available=2000)]
    (table,) = _score_tables(runs)
    assert {(row.family.split(",")[0], len(row.results)) for row in table.rows} == {
        ("hyperformer++", 1),
        ("full-multitask", 1),
    }
    (table,) = _score_tables(runs[1:3])
    assert table.limits == {"demo/p+demo/q": 100}
    assert "Trained on a part of the training rows: demo/p+demo/q 100." in _table_notes(table)
