"""Selection by validation, as a pure function of results."""

import dataclasses
from pathlib import Path

import pytest

from hyperadapters import METHODS, Experiment, NamedTask, Result, Training
from hyperadapters.reports.estimates import _scores_by_column
from hyperadapters.sweeps.selection import distinguish_tasks, select


def result(method="compacter", task="glue/rte", lr=1e-3, seed=42, validation=0.5, test=0.5, **fields):
    experiment = Experiment(
        method=dataclasses.replace(METHODS[method], **fields),
        task=NamedTask(name=task, data="somewhere"),
        training=Training(lr=lr, seed=seed, epochs=20 if task == "glue/rte" else 3),
    )
    blank = dict.fromkeys(field.name for field in dataclasses.fields(Result))
    found = {"experiment": experiment.to_json(), "method": method, "task": task}
    metrics = {"validation": {"f1": validation, "accuracy": validation}, "test": {"f1": test, "accuracy": test}}
    averages = {"validation": validation, "test": test}
    return Result(**{**blank, **found, "metrics": metrics, "averages": averages})


def test_one_rate_is_chosen_for_a_method_over_all_tasks_and_seeds():
    """1e-3 wins on RTE, 1e-2 on MRPC by more."""
    scores = {("glue/rte", 1e-3): 0.6, ("glue/rte", 1e-2): 0.5, ("glue/mrpc", 1e-3): 0.5, ("glue/mrpc", 1e-2): 0.7}
    results = [result(task=t, lr=lr, seed=s, validation=v + s / 100) for (t, lr), v in scores.items() for s in (1, 2)]
    (choice,) = select(results)
    assert choice.setting == '{"training.lr": 0.01}'
    assert choice.validation == pytest.approx(0.615)
    assert choice.others == {'{"training.lr": 0.001}': pytest.approx(0.565)}
    assert len(choice.results) == 4
    by_task = {c.results[0].task: c.setting for c in select(results, per_task=True)}
    assert by_task == {"glue/rte": '{"training.lr": 0.001}', "glue/mrpc": '{"training.lr": 0.01}'}


def test_test_scores_are_never_looked_at():
    results = [result(lr=lr, validation=v, test=t) for lr, v, t in ((1e-3, 0.6, 0.1), (1e-2, 0.5, 0.9))]
    mirrored = [result(lr=lr, validation=v, test=t) for lr, v, t in ((1e-3, 0.6, 0.9), (1e-2, 0.5, 0.1))]
    assert select(results)[0].setting == select(mirrored)[0].setting == '{"training.lr": 0.001}'


def test_methods_are_chosen_for_by_themselves_and_several_fields_together():
    results = [result(n=n, lr=lr, validation=n * lr) for n in (4, 8) for lr in (1e-3, 1e-2)]
    results.append(result(method="full"))
    compacter, full = select(results, ("training.lr", "method.n"))
    assert compacter.setting == '{"training.lr": 0.01, "method.n": 8}'
    assert full.setting == '{"training.lr": 0.001, "method.n": null}'
    assert len(select(results)) == 3


def test_a_setting_that_lacks_a_run_takes_no_part():
    """1e-2 diverged on MRPC: its good score on RTE alone must not win."""
    results = [result(lr=1e-3), result(lr=1e-3, task="glue/mrpc"), result(lr=1e-2, validation=0.9)]
    (choice,) = select(results)
    assert choice.setting == '{"training.lr": 0.001}'
    assert choice.incomplete == ('{"training.lr": 0.01}',)


def test_settings_that_each_lack_a_run_of_another_are_compared_on_what_they_share_and_named():
    results = [result(lr=lr, task=f"glue/{task}", validation=score) for lr, scores in {
        3e-2: {"cola": 0.6, "mrpc": 0.1},
        3e-3: {"cola": 0.5, "rte": 0.9},
    }.items() for task, score in scores.items()]  # fmt: skip
    (choice,) = select(results)
    assert choice.setting == '{"training.lr": 0.03}'
    assert choice.incomplete == ('{"training.lr": 0.03}', '{"training.lr": 0.003}')


def of_files(train, score=0.5, answer="a", **fields):
    task = {"type": "files", "train": train, "validation": "v.jsonl", "test": "", "text": ["t"], "answer": answer,
            "answers": "label"}  # fmt: skip
    found = result(task=Path(train).name.split(".")[0], validation=score, **fields)
    return dataclasses.replace(found, experiment={**found.experiment, "task": task})


def test_files_of_one_name_are_tasks_of_their_own():
    results = [of_files("films/data.jsonl", 0.91), of_files("laptops/data.jsonl", 0.55)]
    (choice,) = select(results)
    assert {found.task: found.metrics["validation"]["f1"] for found in choice.results} == {
        "data (films, a)": 0.91,
        "data (laptops, a)": 0.55,
    }
    assert choice.validation == pytest.approx(0.73)
    assert distinguish_tasks(distinguish_tasks(results)) == distinguish_tasks(results)
    more = [
        *results,
        of_files("/other/films/data.jsonl"),
        of_files("films/data.jsonl", answer="b"),
        result(task="data"),
    ]
    assert [found.task for found in distinguish_tasks(more)] == [
        "data (films, a, 1)",
        "data (laptops, a)",
        "data (films, a, 2)",
        "data (films, b)",
        "data",
    ]


def drawn(seed, split_seed, validation="20%", score=0.5):
    """A run on own files, of which a share validates."""
    found = of_files("films/data.jsonl", score, seed=seed)
    task = {**found.experiment["task"], "validation": validation, "split_seed": split_seed}
    return dataclasses.replace(found, experiment={**found.experiment, "task": task})


def test_seeds_that_each_draw_their_validation_rows_are_seeds_of_one_task():
    runs = [drawn(1, 1), drawn(2, 2)]
    assert [found.task for found in distinguish_tasks(runs)] == ["data", "data"]
    for per_task in (False, True):
        (choice,) = select(runs, per_task=per_task)
        assert len(choice.results) == 2
    files = [drawn(1, 42, "v.jsonl"), drawn(42, 42, "v.jsonl")]  # where nothing is drawn, the number says nothing
    assert [found.task for found in distinguish_tasks(files)] == ["data", "data"]
    other = [drawn(1, 1), drawn(1, 7)]
    assert [found.task for found in distinguish_tasks(other)] == ["data (films, a, 1)", "data (films, a, 2)"]


def mixed(*trains, metrics, **fields):
    """A mixture of the tasks `data` and `more`, of these files."""
    entries = [
        {**of_files(train).experiment["task"], "name": name}
        for train, name in zip(trains, ("data", "more"), strict=True)
    ]
    found = result(task="data+more", **fields)
    experiment = {**found.experiment, "task": {"type": "mixture", "tasks": entries, "temperature": 10.0}}
    return dataclasses.replace(found, experiment=experiment, metrics={"validation": metrics})


def test_files_of_one_name_in_mixtures_are_tasks_of_their_own():
    """A column of a report then has scores on the same rows."""
    scores = {"data.accuracy": 0.5, "more.accuracy": 0.6}
    runs = [mixed("films/data.jsonl", "more.jsonl", metrics=scores, seed=seed) for seed in (1, 2)]
    runs += [mixed("laptops/data.jsonl", "more.jsonl", metrics=scores), of_files("films/data.jsonl")]
    found = distinguish_tasks(runs)
    assert [each.task for each in found] == [
        "data (films, a)+more",
        "data (films, a)+more",
        "data (laptops, a)+more",
        "data (films, a)",
    ]
    assert _scores_by_column(found[0]) == {("data (films, a)", "accuracy"): 50, ("more", "accuracy"): 60}
    assert distinguish_tasks(found) == found
    assert distinguish_tasks(runs[:2]) == runs[:2]


def test_files_that_are_the_same_keep_their_name():
    results = [of_files("films/data.jsonl", seed=seed) for seed in (1, 2)]
    assert [found.task for found in distinguish_tasks(results)] == ["data", "data"]


def test_the_order_of_results_does_not_matter():
    results = [result(lr=lr, task=task) for lr in (1e-3, 1e-2) for task in ("glue/rte", "glue/mrpc")]
    assert select(results)[0].setting == select(results[::-1])[0].setting


def test_weights_chosen_by_different_metrics_are_not_compared():
    runs = [result(validation=0.9), result(validation=0.8)]
    other = {**runs[1].experiment, "evaluation": {**runs[1].experiment["evaluation"], "metric": "matthews"}}
    (choice,) = select([runs[0], dataclasses.replace(runs[1], experiment=other)])
    assert sorted(run.task for run in choice.results) == ["glue/rte (by its own metrics)", "glue/rte (by matthews)"]
    assert [run.task for run in distinguish_tasks(runs)] == ["glue/rte", "glue/rte"]
