"""The statistics of the report, against scipy, closed forms and a worked example."""

import dataclasses
import math
import statistics

import numpy as np
import pytest
from results import ROWS, published_run, result
from scipy import stats

from hyperadapters.papers.published_scores import COMPACTER_PLUS_PLUS, TABLE_1
from hyperadapters.reports.estimates import (
    Estimate,
    against_paper,
    average,
    few_rows,
    indistinguishable_from_best,
    overlap,
    sizes,
    tables,
)
from hyperadapters.tasks.metrics import accuracy, bootstrap, question_exact_match


def test_the_published_columns_have_the_published_average():
    assert statistics.mean(COMPACTER_PLUS_PLUS.values()) == pytest.approx(TABLE_1["compacter++"].average, abs=0.0051)


def seeds(*scores):
    return dict(enumerate(scores))


def test_the_interval_of_some_seeds_is_students():
    scores = [80.0, 82.0, 81.0, 84.0, 78.0]
    found = Estimate(seeds(*scores))
    low, high = stats.t.interval(0.95, 4, loc=np.mean(scores), scale=stats.sem(scores))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (found.mean, found.sd, found.seeds) == (81.0, pytest.approx(np.std(scores, ddof=1)), 5)


def test_chance_of_seeds_and_of_rows_adds_up():
    alone, rows = Estimate(seeds(80.0, 82.0)), (3.0, 2.0)
    below, _ = alone.reach
    assert Estimate(seeds(80.0, 82.0), rows).reach == pytest.approx((math.hypot(below, 3), math.hypot(below, 2)))
    assert Estimate(seeds(80.0), rows).reach == rows
    assert Estimate(seeds(80.0)).reach is None


def test_an_interval_ends_where_scores_do():
    assert (Estimate(seeds(99.0), (4.0, 3.0)).low, Estimate(seeds(99.0), (4.0, 3.0)).high) == (95.0, 100.0)
    assert Estimate(seeds(1.0, 3.0)).low == 0.0
    assert Estimate(seeds(-1.0, 3.0), least=-100.0).low < -1.0


def test_with_one_seed_the_interval_is_the_bootstraps_own():
    """49 of 50 right: to the right there is less room."""
    references = [1] * 50
    low, high = bootstrap(accuracy, [0, *references[1:]], references)
    run = result("full", "glue/rte", {"accuracy": 98})
    (table,) = tables([dataclasses.replace(run, intervals={"accuracy": [low, high]})])
    (line,) = table.lines
    for found in (line.columns["glue/rte", "accuracy"], table.average(line)):
        assert (found.low, found.high) == (pytest.approx(100 * low), pytest.approx(100 * high)) == (94, 100)
    signed = result("full", "glue/cola", {"matthews": 1})
    found = tables([dataclasses.replace(signed, intervals={"matthews": [-0.1, 0.1]})])[0].lines[0]
    assert found.columns["glue/cola", "matthews"].low == pytest.approx(-10)


def test_both_averages():
    """Two metrics of one task and one of another."""
    columns = {("a", "f1"): 90.0, ("a", "accuracy"): 80.0, ("b", "accuracy"): 70.0}
    columns = {column: Estimate({1: mean}, (3.0, 6.0)) for column, mean in columns.items()}
    assert average(columns).mean == pytest.approx(80.0)
    assert average(columns, per_task=True).mean == pytest.approx(77.5)
    assert average(columns).reach == pytest.approx((math.hypot(2 * 3, 3) / 3, math.hypot(2 * 6, 6) / 3))
    assert average(columns, per_task=True).reach == pytest.approx((math.hypot(3, 3) / 2, math.hypot(6, 6) / 2))


def test_an_average_spreads_over_seeds_as_the_averages_of_seeds_do():
    """Two tasks that move against each other: each spreads, their average does not."""
    columns = {("a", "f1"): Estimate({1: 70.0, 2: 74.0}), ("b", "f1"): Estimate({1: 64.0, 2: 60.0, 3: 0.0})}
    found = average(columns)
    assert (found.mean, found.sd, found.seeds) == (67.0, 0.0, 2)
    assert average({("a", "f1"): Estimate({1: 1.0}), ("b", "f1"): Estimate({2: 1.0})}) is None


def test_a_test_set_too_large_for_the_bootstrap_adds_nothing_to_an_average():
    columns = {("a", "f1"): Estimate({1: 70.0}, (4.0, 4.0)), ("b", "f1"): Estimate({1: 70.0})}
    assert average(columns).reach == (2.0, 2.0)
    assert average({("b", "f1"): Estimate({1: 70.0})}).reach is None


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


def test_one_seed_cannot_tell_8662_from_8650():
    """Compacter and full fine-tuning in the paper's table: 0.12 apart, each known to about a point at best."""
    (table,) = tables([*published_run("compacter"), *published_run("full")])
    averages = {line.label: table.average(line) for line in table.lines}
    assert averages["compacter"].mean == pytest.approx(86.62, abs=0.005)
    assert averages["full"].mean == pytest.approx(86.50, abs=0.005)
    assert all(0.5 < side < 2 for side in averages["compacter"].reach)
    assert overlap(averages["compacter"], averages["full"])
    (sentence,) = indistinguishable_from_best(table)
    assert sentence.startswith("compacter 86.62 (85.")
    assert " cannot be told apart from full 86.50 (85." in sentence


def test_how_often_two_equal_methods_differ_by_012_on_the_papers_test_sets():
    """The docs' number: test halves drawn anew move the average so much that 0.12 is nothing."""
    random = np.random.default_rng(0)
    shares = {task.split("/")[-1]: 0.01 * score for (task, _), score in COMPACTER_PLUS_PLUS.items()}
    draws = [random.binomial(ROWS[task], share, 4000) / ROWS[task] for task, share in shares.items()]
    twice = [2 if task in ("mrpc", "qqp", "stsb") else 1 for task in shares]  # two metrics, so two columns
    averages = 100 * np.average(draws, axis=0, weights=twice)
    apart = np.abs(averages[:2000] - averages[2000:])
    assert np.mean(apart > 0.12) > 0.85


def test_a_large_difference_is_told_and_an_unknown_interval_is_said():
    runs = published_run("compacter")
    worse = [dataclasses.replace(r, metrics={s: {n: v - 0.1 for n, v in m.items()} for s, m in r.metrics.items()})
             for r in published_run("full")]  # fmt: skip
    assert indistinguishable_from_best(tables([*runs, *worse])[0]) == []
    bare = [dataclasses.replace(r, intervals={}) for m in ("compacter", "full") for r in published_run(m)]
    (sentence,) = indistinguishable_from_best(tables(bare)[0])
    assert "no interval is known" in sentence


def test_the_papers_average_is_said_to_lie_in_our_interval_or_not():
    (table,) = tables(published_run("compacter++"))
    (sentence,) = against_paper(table)
    assert sentence.startswith("compacter++: the paper's 86.47 lies inside our 95 % interval")
    assert against_paper(tables(published_run("compacter++")[:-1])[0]) == []  # not over the same columns


def test_tables_part_by_benchmark_and_backbone():
    runs = [result("full", "glue/rte", {"accuracy": 70}), result("full", "superglue/wic", {"accuracy": 60})]
    runs += [result("full", "glue/rte", {"accuracy": 60}, rows=n) for n in (100, 500)]
    runs += [result("full", "glue/rte", {"accuracy": 50}, rows=n, backbone="embedded") for n in (100, 500)]
    found = tables(runs)
    assert [table.title for table in found] == ["glue on embedded", "glue on t5-base", "superglue on t5-base"]
    assert [table.lines[0].columns["glue/rte", "accuracy"].mean for table in found[:2]] == [50, 70]
    assert found[0].rows == {"glue/rte": 500}
    assert len(found[1].lines[0].results) == 1


def test_a_table_takes_the_rows_that_most_methods_were_trained_on():
    runs = [result(method, "glue/rte", {"accuracy": 60}, rows=500) for method in ("full", "phm", "bitfit")]
    runs += [result("full", "glue/rte", {"accuracy": 80}, rows=n) for n in (100, 4000)]
    (table,) = tables(runs)
    assert {line.label: line.columns["glue/rte", "accuracy"].mean for line in table.lines} == {
        "full": 60, "phm": 60, "bitfit": 60
    }  # fmt: skip


def test_a_part_of_the_rows_is_not_set_beside_the_papers_number():
    runs = published_run("compacter++")
    assert tables(runs)[0].lines[0].paper
    for key in ("train_rows", "evaluation_rows"):
        parts = [dataclasses.replace(run, experiment={**run.experiment, "text": {**run.experiment["text"], key: 9}})
                 for run in runs]  # fmt: skip
        assert tables(parts)[0].lines[0].paper is None


def test_a_line_that_lacks_a_task_has_no_average():
    runs = [result("full", task, {"accuracy": 70}) for task in ("glue/rte", "glue/sst2")]
    (table,) = tables([*runs, result("phm", "glue/rte", {"accuracy": 99})])
    averages = {line.label: table.average(line) for line in table.lines}
    assert averages["phm"] is None
    assert averages["full"].mean == pytest.approx(70)


def test_a_mixture_stands_beside_single_task_runs_of_its_tasks():
    """One run of three tasks in two benchmarks: its columns are where those of single runs are."""
    alone = [result("houlsby", task, {"accuracy": 60}) for task in ("glue/rte", "superglue/rte", "glue/sst2")]
    scores = {"glue/rte.accuracy": 71, "superglue/rte.accuracy": 72, "sst2.accuracy": 73}
    mixed = result("hyperformer++", "glue/rte,superglue/rte,glue/sst2", scores)
    glue, superglue = tables([*alone, mixed])
    assert glue.columns == (("glue/rte", "accuracy"), ("glue/sst2", "accuracy"))
    lines = {line.label: line for line in glue.lines}
    assert lines.keys() == {"houlsby", "hyperformer++, 3 tasks in one"}
    together = lines["hyperformer++, 3 tasks in one"]
    assert {column: found.mean for column, found in together.columns.items()} == {
        ("glue/rte", "accuracy"): pytest.approx(71),
        ("glue/sst2", "accuracy"): pytest.approx(73),
    }
    assert together.percent == pytest.approx(together.trained / 10**4 / 3)
    assert superglue.lines[-1].columns["superglue/rte", "accuracy"].mean in (60, pytest.approx(72))


def test_averages_are_over_the_columns_that_half_of_the_lines_have():
    """A mixture with one task more takes no average from the methods that were trained on the others."""
    runs = [result(name, task, {"accuracy": 60}) for name in ("houlsby", "phm") for task in ("glue/rte", "glue/sst2")]
    scores = {"rte.accuracy": 70, "sst2.accuracy": 80, "cola.matthews": 0}
    runs.append(result("hyperformer++", "glue/rte,glue/sst2,glue/cola", scores))
    (table,) = tables(runs)
    assert table.averaged == (("glue/rte", "accuracy"), ("glue/sst2", "accuracy"))
    assert {line.family: table.average(line).mean for line in table.lines} == {
        "houlsby": 60, "phm": 60, "hyperformer++, 3 tasks in one": pytest.approx(75)
    }  # fmt: skip


def test_total_parameters_are_those_of_hyperformers_and_compacters_tables():
    """1 + tasks · (added, without norms) / backbone: Adapters at T5-base, eight tasks, the paper's counts."""
    line = tables([result("houlsby", "glue/rte", {"accuracy": 60})])[0].lines[0]
    line = dataclasses.replace(line, trained=1_855_104, total=222_882_048, by_kind={"norm": 47_616})
    assert line.copies(8) == pytest.approx(1.065, abs=5e-4)
    full = dataclasses.replace(line, trained=222_882_048, by_kind={"backbone": 222_882_048})
    assert full.copies(8) == 8


def test_the_best_size_is_chosen_for_each_task_on_validation():
    runs = []
    for task, best in (("glue/rte", 8), ("glue/sst2", 64)):
        for size in (8, 64):
            score = {"accuracy": 80 if size == best else 70}
            runs.append(result("houlsby", task, {"accuracy": size}, bottleneck=size, validation=score))
    (table,) = tables(runs)
    lines = {line.label: line for line in table.lines}
    assert set(lines) == {"houlsby (bottleneck = 8)", "houlsby (bottleneck = 64)", "houlsby (best of 2 sizes)"}
    best = lines["houlsby (best of 2 sizes)"]
    assert {task: found.mean for (task, _), found in best.columns.items()} == {"glue/rte": 8, "glue/sst2": 64}
    assert list(sizes(table.lines)) == ["houlsby"]


def test_runs_that_differ_in_what_no_label_says_get_it_said():
    runs = [result("full", "glue/rte", {"accuracy": 70}, training={"precision": p}) for p in ("fp32", "bf16")]
    (table,) = tables(runs)
    assert {line.label for line in table.lines} == {
        "full (training.precision = fp32)",
        "full (training.precision = bf16)",
    }


def test_scores_by_rows_are_of_methods_that_differ_in_rows_alone():
    runs = [result("full", "glue/rte", {"accuracy": 50 + n / 100}, rows=n) for n in (100, 500)]
    runs.append(result("phm", "glue/rte", {"accuracy": 70}, rows=500))
    (part,) = few_rows(runs)
    assert part.title == "Low-resource, glue on t5-base"
    assert list(part.tables) == [100, 500]
    assert [line.label for line in part.tables[500].lines] == ["full"]


def test_a_task_with_fewer_rows_takes_part_with_all_it_has():
    """RTE has 2,490 rows: at 4,000 it takes part with them; CoLA, whose 4,000 have not run, does not."""
    rows = {"glue/rte": (100, 2490), "glue/sst2": (100, 4000), "glue/cola": (100,)}
    runs = [result("full", task, {"accuracy": 50}, rows=n) for task, numbers in rows.items() for n in numbers]
    (part,) = few_rows(runs)
    assert list(part.tables) == [100, 4000]
    assert part.tables[100].tasks == ("glue/cola", "glue/rte", "glue/sst2")
    assert part.tables[4000].tasks == ("glue/rte", "glue/sst2")


def test_runs_from_a_trained_model_are_a_line_of_their_own():
    start = {"adapter": "out/mix", "digest": "1", "like": "rte", "freeze": False}
    runs = [result("hyperformer++", "scitail", {"accuracy": 50 + n}, rows=n, seed=s, start={**start, "digest": str(s)})
            for n in (4, 16) for s in (1, 2)]  # fmt: skip
    runs += [result("hyperformer++", "scitail", {"accuracy": 50}, rows=n) for n in (4, 16)]
    (part,) = few_rows(runs)
    assert part.title == "Few-shot transfer, scitail on t5-base"
    lines = {line.label: line for line in part.tables[16].lines}
    assert lines.keys() == {"hyperformer++", "hyperformer++, from a trained model"}
    assert lines["hyperformer++, from a trained model"].columns["scitail", "accuracy"].seeds == 2
