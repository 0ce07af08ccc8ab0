"""Selection by validation, as a pure function of results."""

import dataclasses

import pytest

from hyperadapters import METHODS, Experiment, NamedTask, Result, Training
from hyperadapters.selection import select


def result(method="compacter", task="glue/rte", lr=1e-3, seed=42, validation=0.5, test=0.5, **fields):
    experiment = Experiment(
        method=dataclasses.replace(METHODS[method], **fields),
        task=NamedTask(name=task, data="somewhere"),
        training=Training(lr=lr, seed=seed, epochs=20 if task == "glue/rte" else 3),
    )
    blank = dict.fromkeys(field.name for field in dataclasses.fields(Result))
    found = {"experiment": experiment.to_json(), "method": method, "task": task}
    metrics = {"validation": {"f1": validation, "accuracy": validation}, "test": {"f1": test, "accuracy": test}}
    return Result(**{**blank, **found, "metrics": metrics})


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


def test_the_order_of_results_does_not_matter():
    results = [result(lr=lr, task=task) for lr in (1e-3, 1e-2) for task in ("glue/rte", "glue/mrpc")]
    assert select(results)[0].setting == select(results[::-1])[0].setting
