"""Every experiment has a key of its own, which a folder can be named by."""

from dataclasses import replace

from hyperadapters import METHODS, TASKS, Experiment, MixtureTask, NamedTask, Training
from hyperadapters.runs.experiment import apply_changes
from hyperadapters.sweeps.keys import experiment_key


def test_a_key_tells_experiments_apart_but_not_where_their_data_lie(tmp_path):
    run = Experiment(method=METHODS["phm"], task=NamedTask(name="glue/rte"), training=Training(lr=1e-3))
    moved = replace(run, task=replace(run.task, data="elsewhere"), training=Training(lr=1e-3, checkpoint_seconds=5))
    others = [apply_changes(run, {name: value}) for name, value in (("training.seed", "1"), ("method.n", "4"))]
    assert experiment_key(run) == experiment_key(moved)
    assert len({experiment_key(other) for other in (run, *others)}) == 3
    assert experiment_key(run).startswith("glue-rte_phm_")
    assert experiment_key(apply_changes(run, {"method.n": "4"})).startswith("glue-rte_PHMAdapter_")


def test_a_key_of_very_many_tasks_is_a_name_that_a_file_can_have():
    many = MixtureTask.named(*TASKS)
    runs = [Experiment(method=METHODS["hyperformer"], task=many, training=Training(lr=lr)) for lr in (1e-3, 1e-2)]
    assert max(len(f"{experiment_key(run)}.failed.json".encode()) for run in runs) <= 255
    assert len({experiment_key(run) for run in runs}) == 2
    eight = replace(runs[0], task=MixtureTask.named("glue/mrpc", "glue/rte"))
    assert experiment_key(eight).startswith("glue-mrpc+glue-rte_hyperformer_")
