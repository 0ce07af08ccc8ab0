"""Trackers: what they are told, by a tracker of our own on Accelerate's interface and by TensorBoard's real files."""

import json

import pytest
from accelerate.tracking import GeneralTracker
from command_line import refuses
from sweep_runs import experiment, here, unused

from hyperadapters import InputError
from hyperadapters.runs.result import RESULT
from hyperadapters.runs.running import EXPERIMENT, run
from hyperadapters.sweeps.keys import experiment_key
from hyperadapters.sweeps.sweeping import sweep
from hyperadapters.training.tracking import _flatten
from hyperadapters.training.trainer import Trainer


class Notebook(GeneralTracker):
    name = "notebook"
    requires_logging_directory = False

    def __init__(self):
        super().__init__()
        self.config, self.told, self.finished = {}, [], False

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step=None, **kwargs):
        self.told.append((step, values))

    def finish(self):
        self.finished = True


@pytest.mark.slow
def test_a_tracker_is_told_the_experiment_every_evaluation_and_the_score(tmp_path):
    notebook, chosen = Notebook(), experiment(tmp_path, epochs=2)
    result = run(chosen, tmp_path / "out", track=[notebook], quiet=True)
    assert notebook.config["training.lr"] == 1e-3
    assert notebook.config["method.type"] == "Compacter"
    *evaluations, (last, best) = notebook.told
    assert [step for step, _ in evaluations] == [3, 6]
    for (_, told), entry in zip(evaluations, result.history, strict=True):
        assert (told["epoch"], told["loss"]) == (entry["epoch"], entry["loss"])
        assert told["validation/accuracy"] == entry["accuracy"]
    rates = [told["lr"] for _, told in evaluations]
    assert rates == pytest.approx([1e-3 * 4 / 6, 1e-3 * 1 / 6])  # linear decay: what the last step used
    assert (last, best["score"]) == (6, result.score)
    assert best["best/validation/accuracy"] == result.metrics["validation"]["accuracy"]
    assert notebook.finished


@pytest.mark.slow
def test_trackers_are_no_part_of_an_experiment(tmp_path):
    chosen = experiment(tmp_path)
    run(chosen, tmp_path / "followed", track=[Notebook()], quiet=True)
    run(chosen, tmp_path / "alone", quiet=True)
    one, other = (json.loads((tmp_path / name / EXPERIMENT).read_text()) for name in ("followed", "alone"))
    assert one == other


@pytest.mark.slow
def test_a_resumed_run_tells_of_its_earlier_evaluations_again(tmp_path, monkeypatch):
    chosen, step = experiment(tmp_path, epochs=2), Trainer.step

    def failing(self, rows):
        if self.state.step == 4:
            raise RuntimeError("stopped")
        return step(self, rows)

    first, second = Notebook(), Notebook()
    monkeypatch.setattr(Trainer, "step", failing)
    with pytest.raises(RuntimeError, match="stopped"):
        run(chosen, tmp_path / "out", track=[first], quiet=True)
    assert first.finished
    monkeypatch.setattr(Trainer, "step", step)
    run(chosen, tmp_path / "out", resume=True, track=[second], quiet=True)
    assert [step for step, _ in first.told] == [3]
    assert [step for step, _ in second.told] == [3, 6, 6]
    assert second.told[0] == first.told[0]


def test_tensorboard_gets_a_file_that_it_can_read_and_a_sweep_keeps_it(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    chosen = experiment(tmp_path)
    swept = sweep([chosen], tmp_path / "out", executor=here, track=["tensorboard"], quiet=True)
    result = swept.results[experiment_key(chosen)]
    events = EventAccumulator(str(tmp_path / "out" / experiment_key(chosen) / "hyperadapters"))
    events.Reload()
    assert [scalar.step for scalar in events.Scalars("loss")] == [3]
    assert events.Scalars("score")[0].value == pytest.approx(result.score)
    assert sorted(path.name for path in (tmp_path / "out" / experiment_key(chosen)).iterdir() if path.is_file()) == [
        EXPERIMENT,
        RESULT,
    ]


def test_unknown_and_missing_trackers_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such tracker. Did you mean tensorboard"):
        run(experiment(tmp_path), tmp_path / "out", track=["tensorbord"])
    monkeypatch.setattr("hyperadapters.training.tracking.get_available_trackers", list)
    with pytest.raises(InputError, match=r"--track wandb: not installed. pip install wandb"):
        sweep([experiment(tmp_path)], tmp_path / "out", executor=unused, track=["wandb"], quiet=True)
    assert "pip install mlflow" in refuses("compare", "--track", "mlflow", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nested_settings_are_told_flatten():
    assert dict(_flatten({"a": {"b": 1, "c": {"d": None}}, "e": ["x"]})) == {"a.b": 1, "a.c.d": "None", "e": "['x']"}
