"""What the report says of differences, against the papers' own test sets."""

import dataclasses

import numpy as np
import pytest

from hyperadapters.papers.published_scores import _COMPACTER_PLUS_PLUS
from hyperadapters.reports.comparison import comparison_cells, comparison_title
from hyperadapters.reports.estimates import _intervals_overlap
from hyperadapters.reports.notes import _compare_with_paper, _indistinguishable_from_best, _splits, _table_notes
from hyperadapters.reports.tables import _score_tables
from hyperadapters.sweeps import distinguish_tasks
from results import ROWS, published_run, result


def test_one_seed_cannot_tell_8662_from_8650():
    """Compacter and full fine-tuning in the paper's table: 0.12 apart, each known to about a point at best."""
    (table,) = _score_tables([*published_run("compacter"), *published_run("full")])
    averages = {row.label: table.average(row) for row in table.rows}
    assert averages["compacter"].mean == pytest.approx(86.62, abs=0.005)
    assert averages["full"].mean == pytest.approx(86.50, abs=0.005)
    assert all(0.5 < side < 2 for side in averages["compacter"].margin)
    assert _intervals_overlap(averages["compacter"], averages["full"])
    (sentence,) = _indistinguishable_from_best(table)
    assert sentence.startswith("compacter 86.62 (85.")
    assert " cannot be told apart from full 86.50 (85." in sentence


def test_how_often_two_equal_methods_differ_by_012_on_the_papers_test_sets():
    """The docs' number: test halves drawn anew move the average so much that 0.12 is nothing."""
    random = np.random.default_rng(0)
    shares = {task.split("/")[-1]: 0.01 * score for (task, _), score in _COMPACTER_PLUS_PLUS.items()}
    draws = [random.binomial(ROWS[task], share, 4000) / ROWS[task] for task, share in shares.items()]
    twice = [2 if task in ("mrpc", "qqp", "stsb") else 1 for task in shares]  # two metrics, so two columns
    averages = 100 * np.average(draws, axis=0, weights=twice)
    apart = np.abs(averages[:2000] - averages[2000:])
    assert np.mean(apart > 0.12) > 0.85


def test_a_large_difference_is_told_and_an_unknown_interval_is_said():
    runs = published_run("compacter")
    worse = [dataclasses.replace(r, metrics={s: {n: v - 0.1 for n, v in m.items()} for s, m in r.metrics.items()})
             for r in published_run("full")]  # fmt: skip
    assert _indistinguishable_from_best(_score_tables([*runs, *worse])[0]) == []
    bare = [dataclasses.replace(r, intervals={}) for m in ("compacter", "full") for r in published_run(m)]
    (sentence,) = _indistinguishable_from_best(_score_tables(bare)[0])
    assert "no interval is known" in sentence


def test_the_papers_average_is_said_to_lie_in_our_interval_or_not():
    (table,) = _score_tables(published_run("compacter++"))
    (sentence,) = _compare_with_paper(table)
    assert sentence.startswith("compacter++: the paper's 86.47 lies inside our 95 % interval")
    assert _compare_with_paper(_score_tables(published_run("compacter++")[:-1])[0]) == []  # not over the same columns


def on_splits(task, method="houlsby", **metrics):
    """A run with these metrics in percent, by split."""
    of_split = {split: {name: value / 100 for name, value in found.items()} for split, found in metrics.items()}
    names = list(of_split.get("test", of_split["validation"]))
    whole = result(method, task, dict.fromkeys(names, 50))
    return dataclasses.replace(whole, metrics=of_split, intervals={})


def test_a_table_says_of_which_split_its_scores_are():
    (tested,) = _score_tables([on_splits("mine", validation={"accuracy": 60}, test={"accuracy": 50})])
    assert _splits(tested) == "of the test split"
    (validated,) = _score_tables([on_splits("mine", validation={"accuracy": 60})])
    assert _splits(validated) == "of the validation split, which chose the weights too"
    assert validated.averages()[0][1].mean == 60


def test_tasks_of_a_mixture_without_test_rows_are_shown_by_validation_and_said_to_be():
    both = {"first.accuracy": 60, "second.accuracy": 70}
    run = on_splits("own/first,own/second", validation=both, test={"first.accuracy": 50})
    (table,) = _score_tables([run])
    assert _splits(table) == (
        "of the test split; without test rows, of the validation split, which chose the weights too: own/second"
    )
    assert {task: score.mean for (task, _), score in table.rows[0].columns.items()} == {
        "own/first": 50,
        "own/second": 70,
    }
    assert run.score == pytest.approx(0.6)
    assert "test split (second: validation split)" in comparison_title([run])
    cells = comparison_cells(run)
    assert (cells["score"], cells["first.accuracy"], cells["second.accuracy"]) == ("60.00", "50.00", "70.00")
    apart = on_splits("first,second", validation=both, test={"first.accuracy": 50})
    assert {table.benchmark: _splits(table)[:17] for table in _score_tables([apart])} == {
        "first": "of the test split",
        "second": "of the validation",
    }


def of_rows_split_off(validation, seeds, *splits, split_seed=None):
    """Runs on own files that report these splits."""
    runs = [result("full", "films", {"accuracy": 60}, seed=seed) for seed in seeds]
    task = {"type": "files", "train": "films.csv", "validation": validation, "answer": "stars"}
    scores = {split: {"accuracy": 0.6} for split in ("validation", *splits)}
    return [
        dataclasses.replace(
            run,
            experiment={
                **run.experiment,
                "task": {**task, "split_seed": split_seed or (seed if "%" in validation else 42)},
            },
            metrics=scores,
        )
        for run, seed in zip(runs, seeds, strict=True)
    ]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (of_rows_split_off("20%", (1, 2)), True),
        (of_rows_split_off("20%", (1,)), False),
        (of_rows_split_off("20%", (42, 43, 44), split_seed=42), False),
        (of_rows_split_off("v.csv", (1, 2)), False),
        (of_rows_split_off("20%", (1, 2), "test"), False),
    ],
)
def test_it_is_said_where_every_seed_was_scored_on_rows_of_its_own(runs, said):
    (table,) = _score_tables(runs)
    assert len(table.rows[0].results) == len(runs)
    drew = "Each seed drew its own validation rows from the training rows: films."
    assert (drew in _table_notes(table)) is said


def test_runs_of_one_seed_on_different_validation_rows_are_of_two_tasks():
    runs = [*of_rows_split_off("20%", (1, 2), split_seed=7), *of_rows_split_off("20%", (1, 2), split_seed=8)]
    tables = _score_tables(distinguish_tasks(runs))
    found = [(task, estimate.seeds) for table in tables for (task, _), estimate in table.rows[0].columns.items()]
    assert found == [("films (stars, 1)", 2), ("films (stars, 2)", 2)]


def test_of_errors_the_lowest_is_the_best():
    runs = [
        dataclasses.replace(
            result(method, "own/n", {"rmse": 1.0}),
            metrics={split: {"rmse": value} for split in ("validation", "test")},
            intervals={},
        )
        for method, value in (("full", 0.2), ("phm", 0.9))
    ]
    (table,) = _score_tables(runs)
    assert any(note.startswith("full 0.20 against phm 0.90") for note in _table_notes(table))
