"""Tuning: rates are raced, and the folder then holds what a run with the best of them writes."""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file
from sweep_runs import experiment
from training_runs import rows_file

from hyperadapters import FilesTask, InputError, tune
from hyperadapters.delta.saving import TENSORS
from hyperadapters.runs.result import RESULT
from hyperadapters.runs.running import EXPERIMENT, run
from hyperadapters.sweeps.tuning import _TUNE
from hyperadapters.tasks import named_metrics


def small(folder):
    return experiment(folder, lr=1e-2, steps=5)


def own_rows(folder):
    """A task of own files."""
    files = {split: str(rows_file(folder / f"{split}.jsonl", 12)) for split in ("train", "validation")}
    return FilesTask(**files, text=("text",), answer="label", answers="label")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tune")


@pytest.fixture(scope="module")
def tuned(folder):
    return tune(small(folder), folder / "tuned", rates=(1e-3, 1e-2), quiet=True)


def test_the_folder_holds_the_winning_run_and_the_race(tuned, folder):
    names = {path.name for path in (folder / "tuned").iterdir()}
    assert {TENSORS, EXPERIMENT, RESULT, _TUNE} <= names
    assert "tune" not in names
    race = json.loads((folder / "tuned" / _TUNE).read_text())
    assert race["winner"] == tuned.experiment["training"]["lr"]
    assert (race["steps"], race["grid_steps"]) == (2 * 2 + 3, 10)


def test_a_finished_one_is_returned_when_resumed(tuned, folder):
    assert tune(small(folder), folder / "tuned", rates=(1e-3, 1e-2), resume=True, quiet=True) == tuned


def test_other_rates_are_not_resumed(tuned, folder):
    with pytest.raises(InputError, match="holds a race of the rates .* not 0.001, 0.003"):
        tune(small(folder), folder / "tuned", rates=(1e-3, 3e-3), resume=True, quiet=True)


def test_a_folder_in_use_is_refused(tuned, folder):
    with pytest.raises(InputError, match="--resume"):
        tune(small(folder), folder / "tuned", quiet=True)


@pytest.mark.parametrize("rates", [(1e-3,), (1e-3, 1e-3)])
def test_a_race_needs_two_rates(rates, tmp_path):
    with pytest.raises(InputError, match="give two or more, each once"):
        tune(small(tmp_path), tmp_path / "tuned", rates=rates, quiet=True)


def test_the_adapter_is_that_of_a_run_at_the_rate(tuned, folder):
    from hyperadapters import Experiment

    run(Experiment.from_json(tuned.experiment), folder / "alone", quiet=True)
    alone = load_file(folder / "alone" / TENSORS)
    for name, tensor in load_file(folder / "tuned" / TENSORS).items():
        assert tensor.allclose(alone[name], rtol=1e-4, atol=1e-5)


def test_what_is_wrong_is_found_before_anything_is_written(tmp_path):
    wrong = small(tmp_path)
    rows = tmp_path / "other.jsonl"
    rows.write_text('{"text": "a film", "label": "neither"}\n')
    wrong = replace(wrong, task=replace(own_rows(tmp_path), validation=str(rows)))
    with pytest.raises(InputError, match="label 'neither'"):
        tune(wrong, tmp_path / "tuned", quiet=True)
    assert not (tmp_path / "tuned").exists()


def test_a_resumed_race_names_the_setting_that_differs(tuned, folder):
    other = replace(small(folder), training=replace(small(folder).training, steps=6))
    with pytest.raises(InputError, match="training.steps: 5 there, 6 now"):
        tune(other, folder / "tuned", rates=(1e-3, 1e-2), resume=True, quiet=True)


@pytest.mark.slow  # test_sweeping.py tries failures again
def test_runs_that_failed_are_tried_again_when_resumed(tmp_path, monkeypatch):
    """A metric of the user's that is right about right answers, and fails at those of a run until it is mended."""
    broken = {"answers": True}

    def own(answers, references):
        if answers != references and broken["answers"]:
            raise ValueError("boom")
        return sum(map(str.__eq__, answers, references)) / len(answers)

    monkeypatch.setitem(named_metrics._allowed, "mine:own", own)
    run = small(tmp_path)
    run = replace(run, task=own_rows(tmp_path), evaluation=replace(run.evaluation, metric="mine:own"))
    with pytest.raises(InputError, match="boom"):
        tune(run, tmp_path / "tuned", rates=(1e-3, 1e-2), quiet=True)
    broken["answers"] = False
    found = tune(run, tmp_path / "tuned", rates=(1e-3, 1e-2), resume=True, quiet=True)
    assert "own" in found.metrics["validation"]
