"""Tuning: rates are raced, and the folder then holds what a run with the best of them writes."""

import json

import pytest
from safetensors.torch import load_file
from sweep_runs import experiment

from hyperadapters import InputError, tune
from hyperadapters.delta.saving import TENSORS
from hyperadapters.runs.result import RESULT
from hyperadapters.runs.running import EXPERIMENT, run
from hyperadapters.sweeps.tuning import _TUNE


def small(folder):
    return experiment(folder, lr=1e-2, steps=5)


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
