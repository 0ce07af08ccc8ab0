"""Which runs stand in which row of which table, and what a row says."""

import dataclasses

import pytest

from hyperadapters.reports.tables import _families_of_sizes, _score_tables
from results import published_run, result


def test_tables_part_by_benchmark_and_backbone():
    runs = [result("full", "glue/rte", {"accuracy": 70}), result("full", "superglue/wic", {"accuracy": 60})]
    runs += [result("full", "glue/rte", {"accuracy": 60}, rows=n) for n in (100, 500)]
    runs += [result("full", "glue/rte", {"accuracy": 50}, rows=n, backbone="embedded") for n in (100, 500)]
    found = _score_tables(runs)
    assert [table.title for table in found] == ["glue on embedded", "glue on t5-base", "superglue on t5-base"]
    assert [table.rows[0].columns["glue/rte", "accuracy"].mean for table in found[:2]] == [50, 70]
    assert found[0].limits == {"glue/rte": 500}
    assert len(found[1].rows[0].results) == 1


def test_a_table_takes_the_rows_that_most_methods_were_trained_on():
    runs = [result(method, "glue/rte", {"accuracy": 60}, rows=500) for method in ("full", "phm", "bitfit")]
    runs += [result("full", "glue/rte", {"accuracy": 80}, rows=n) for n in (100, 4000)]
    (table,) = _score_tables(runs)
    assert {row.label: row.columns["glue/rte", "accuracy"].mean for row in table.rows} == {
        "full": 60, "phm": 60, "bitfit": 60
    }  # fmt: skip


def test_a_part_of_the_rows_is_not_set_beside_the_papers_number():
    runs = published_run("compacter++")
    assert _score_tables(runs)[0].rows[0].published
    for split in ("train", "validation", "test"):
        parts = [dataclasses.replace(run, rows={**run.rows, split: 9}) for run in runs]
        assert _score_tables(parts)[0].rows[0].published is None


def test_a_line_that_lacks_a_task_has_no_average():
    runs = [result("full", task, {"accuracy": 70}) for task in ("glue/rte", "glue/sst2")]
    (table,) = _score_tables([*runs, result("phm", "glue/rte", {"accuracy": 99})])
    averages = {row.label: table.average(row) for row in table.rows}
    assert averages["phm"] is None
    assert averages["full"].mean == pytest.approx(70)


def test_where_no_rate_has_all_tasks_each_task_has_its_own():
    """As after a race, which leaves the runs of its winner alone."""
    raced = [
        result("phm", "glue/rte", {"accuracy": 60}, lr=0.001),
        result("phm", "glue/sst2", {"accuracy": 80}, lr=0.01),
    ]
    runs = [result("full", task, {"accuracy": 70}, lr=0.001) for task in ("glue/rte", "glue/sst2")]
    worse = result("full", "glue/sst2", {"accuracy": 99}, lr=0.01, validation={"accuracy": 100})
    (table,) = _score_tables([*raced, *runs, worse])
    lines = {row.label: row for row in table.rows}
    assert {task: found.mean for (task, _), found in lines["phm"].columns.items()} == {"glue/rte": 60, "glue/sst2": 80}
    assert lines["phm"].chosen == "lr 0.001 for glue/rte, lr 0.01 for glue/sst2"
    assert lines["full"].chosen == "lr 0.001"  # one rate has all tasks, so another one has no say


def test_a_mixture_stands_beside_single_task_runs_of_its_tasks():
    """One run of three tasks in two benchmarks: its columns are where those of single runs are."""
    alone = [result("houlsby", task, {"accuracy": 60}) for task in ("glue/rte", "superglue/rte", "glue/sst2")]
    scores = {"glue/rte.accuracy": 71, "superglue/rte.accuracy": 72, "sst2.accuracy": 73}
    mixed = result("hyperformer++", "glue/rte,superglue/rte,glue/sst2", scores)
    glue, superglue = _score_tables([*alone, mixed])
    assert glue.columns == (("glue/rte", "accuracy"), ("glue/sst2", "accuracy"))
    lines = {row.label: row for row in glue.rows}
    assert lines.keys() == {"houlsby", "hyperformer++, 3 tasks in one"}
    together = lines["hyperformer++, 3 tasks in one"]
    assert {column: found.mean for column, found in together.columns.items()} == {
        ("glue/rte", "accuracy"): pytest.approx(71),
        ("glue/sst2", "accuracy"): pytest.approx(73),
    }
    assert together.percent == pytest.approx(together.trained / 10**4 / 3)
    assert superglue.rows[-1].columns["superglue/rte", "accuracy"].mean in (60, pytest.approx(72))


def test_averages_are_over_the_columns_that_half_of_the_lines_have():
    """A mixture with one task more takes no average from the methods that were trained on the others."""
    runs = [result(name, task, {"accuracy": 60}) for name in ("houlsby", "phm") for task in ("glue/rte", "glue/sst2")]
    scores = {"rte.accuracy": 70, "sst2.accuracy": 80, "cola.matthews": 0}
    runs.append(result("hyperformer++", "glue/rte,glue/sst2,glue/cola", scores))
    (table,) = _score_tables(runs)
    assert table.averaged == (("glue/rte", "accuracy"), ("glue/sst2", "accuracy"))
    assert {row.family: table.average(row).mean for row in table.rows} == {
        "houlsby": 60, "phm": 60, "hyperformer++, 3 tasks in one": pytest.approx(75)
    }  # fmt: skip


def test_total_parameters_are_those_of_hyperformers_and_compacters_tables():
    """1 + tasks · (added, without norms) / backbone: Adapters at T5-base, eight tasks, the paper's counts."""
    row = _score_tables([result("houlsby", "glue/rte", {"accuracy": 60})])[0].rows[0]
    row = dataclasses.replace(row, trained=1_855_104, total=222_882_048, by_kind={"norm": 47_616})
    assert row.relative_size(8) == pytest.approx(1.065, abs=5e-4)
    full = dataclasses.replace(row, trained=222_882_048, by_kind={"backbone": 222_882_048})
    assert full.relative_size(8) == 8


def test_the_best_size_is_chosen_for_each_task_on_validation():
    runs = []
    for task, best in (("glue/rte", 8), ("glue/sst2", 64)):
        for size in (8, 64):
            score = {"accuracy": 80 if size == best else 70}
            runs.append(result("houlsby", task, {"accuracy": size}, bottleneck=size, validation=score))
    (table,) = _score_tables(runs)
    lines = {row.label: row for row in table.rows}
    assert set(lines) == {"houlsby (bottleneck = 8)", "houlsby (bottleneck = 64)", "houlsby (best of 2 sizes)"}
    best = lines["houlsby (best of 2 sizes)"]
    assert {task: found.mean for (task, _), found in best.columns.items()} == {"glue/rte": 8, "glue/sst2": 64}
    assert list(_families_of_sizes(table.rows)) == ["houlsby"]


def test_runs_that_differ_in_what_no_label_says_get_it_said():
    runs = [result("full", "glue/rte", {"accuracy": 70}, training={"precision": p}) for p in ("fp32", "bf16")]
    (table,) = _score_tables(runs)
    assert {row.label for row in table.rows} == {
        "full (training.precision = fp32)",
        "full (training.precision = bf16)",
    }
