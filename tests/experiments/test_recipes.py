"""The papers' tables as lists of experiments (Compacter, appendix A)."""

from pathlib import Path

import pytest

from hyperadapters.sweeps.experiment_files import load_experiments
from hyperadapters.sweeps.keys import experiment_key

FOLDER = Path(__file__).parents[2] / "experiments"
LISTS = sorted(path.stem for path in FOLDER.glob("*.py") if "def experiments()" in path.read_text(encoding="utf-8"))
TABLES = [name for name in LISTS if name != "transfer"]
"""Transfer starts from trained models: `test_multitask.py`."""


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_a_list_of_different_experiments(table):
    found = load_experiments(FOLDER / f"{table}.py")
    assert found
    assert len({experiment_key(experiment) for experiment in found}) == len(found)


def settings(table, task, **method):
    """The runs of a table on a task whose method has these fields."""
    return [
        e
        for e in load_experiments(FOLDER / f"{table}.py")
        if e.task.name == task and all(getattr(e.method, name, None) == value for name, value in method.items())
    ]


def test_table_1_trains_as_the_paper_says():
    (run,) = settings("table1", "glue/mrpc", n=4, positions=("feed_forward",))
    training = run.training
    assert (training.lr, training.epochs, training.batch_size, training.warmup_steps) == (3e-3, 20, 100, 500)
    assert (run.text.source_length, run.evaluation.decode, run.backbone) == (128, "generate", "t5-base")
    assert settings("table1", "glue/mnli", n=4)[0].training.epochs == 3


def test_table_2_has_longer_texts_and_smaller_batches():
    (run,) = settings("table2", "superglue/copa", n=8, positions=("feed_forward",))
    assert (run.training.batch_size, run.training.warmup_steps, run.training.epochs) == (32, 0, 20)
    assert run.text.source_length == 256
    record = settings("table2", "superglue/record")[0]
    assert (record.training.batch_size, record.text.source_length, record.training.epochs) == (16, 512, 3)


def test_the_low_resource_figure_has_five_seeds_and_never_more_rows_than_there_are():
    runs = settings("low_resource", "glue/rte")
    assert len(runs) == 2 * 5 * 5
    assert {(run.text.train_rows, run.training.epochs) for run in runs} == {
        (100, 1000),
        (500, 200),
        (1000, 100),
        (2000, 50),
        (2490, 25),
    }
