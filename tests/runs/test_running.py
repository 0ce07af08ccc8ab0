"""Whole runs: one process at a time in a folder, and nothing left behind by what is refused."""

import sys
import weakref
from dataclasses import replace

import pytest
from filelock import FileLock
from small_backbones import small_run  # noqa: F401 (a fixture)

from hyperadapters import METHODS, Experiment, InputError, NamedTask, Training, evaluate, fit, load_backbone, run
from hyperadapters._utils.output_folders import _LOCK
from hyperadapters.runs.result import RESULT, read_result


def test_a_folder_that_another_process_is_at_work_in_is_left_to_it(small, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with FileLock(folder / _LOCK), pytest.raises(InputError, match="another process is at work in"):
        run(small, folder, quiet=True)
    assert [path.name for path in folder.iterdir()] == [_LOCK]  # as one that was killed leaves it
    run(small, folder, quiet=True)
    assert (folder / RESULT).exists()
    assert not (folder / _LOCK).exists()


@pytest.mark.slow
def test_a_run_begins_without_the_backbones_of_earlier_ones(small, tmp_path, monkeypatch):
    """What is attached knows its backbone and is known by it: such a circle is not freed by itself."""
    loaded, alive = [], []

    def load(*args, **options):
        alive.append(sum(there() is not None for there in loaded))
        backbone, tokenizer = load_backbone(*args, **options)
        loaded.append(weakref.ref(backbone))
        return backbone, tokenizer

    monkeypatch.setattr(sys.modules["hyperadapters.runs.building"], "load_backbone", load)
    for number in range(3):
        run(small, tmp_path / str(number), quiet=True)
    assert alive == [0, 0, 0]


def test_the_best_weights_are_scored_on_validation_once(small, tmp_path, monkeypatch):
    running, again = sys.modules["hyperadapters.runs.running"], []

    def evaluated(delta, data, split, *others, **options):
        again.append(split)
        return evaluate(delta, data, split, *others, **options)

    monkeypatch.setattr(running, "evaluate", evaluated)
    experiment = replace(small, task=replace(small.task, test=small.task.validation))
    found = run(experiment, tmp_path / "once", quiet=True)
    assert again == ["test"]
    assert found.metrics["validation"] == found.metrics["test"]
    assert found.averages["validation"] == found.averages["test"]
    monkeypatch.setattr(running, "fit", lambda *given, **how: replace(fit(*given, **how), best_scores=None))
    unknown = run(experiment, tmp_path / "twice", quiet=True)
    assert again == ["test", "validation", "test"]
    assert (unknown.metrics, unknown.averages, unknown.invalid) == (found.metrics, found.averages, found.invalid)


def test_a_result_says_how_many_rows_were_used_and_how_many_there_are(small, tmp_path):
    few = replace(small, text=replace(small.text, train_rows=16, evaluation_rows=8))
    found = run(few, tmp_path / "out", quiet=True)
    assert found.rows == {"train": 16, "validation": 8}
    assert found.rows_available == {"train": 24, "validation": 12}
    assert read_result(tmp_path / "out") == found


def test_a_run_that_is_refused_when_it_begins_leaves_nothing_behind(tmp_path):
    task = NamedTask(name="demo/sentiment")
    low = Experiment(method=METHODS["houlsby"], task=task, training=Training(lr=1e-3, reuse="fp32", steps=1))
    for place in (tmp_path / "new" / "out", tmp_path):
        with pytest.raises(InputError, match="so that nothing can be kept"):
            run(low, place, quiet=True)
        assert not [*tmp_path.iterdir()]


def test_the_metric_that_chose_the_weights_has_an_interval_too(small, tmp_path):
    chosen = run(replace(small, evaluation=replace(small.evaluation, metric="matthews")), tmp_path / "out", quiet=True)
    assert set(chosen.intervals) == set(chosen.metrics["validation"])
    assert "matthews" in chosen.intervals
