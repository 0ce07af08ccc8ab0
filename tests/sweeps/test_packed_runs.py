"""Packs from experiments to results: the files are those of single runs."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from filelock import FileLock
from packs import CLOSE, experiment
from safetensors.torch import load_file
from sweep_runs import here, rows

from hyperadapters import METHODS, Evaluation, Experiment, Text, Training
from hyperadapters.delta.saving import TENSORS
from hyperadapters.runs.result import RESULT, read_result
from hyperadapters.runs.running import EXPERIMENT, run
from hyperadapters.sweeps.keys import experiment_key
from hyperadapters.sweeps.packed_runs import _run_together
from hyperadapters.sweeps.sweeping import sweep
from hyperadapters.training.checkpoint import CHECKPOINT


@pytest.mark.slow  # tests/sweeps/test_pack.py compares every tensor
def test_results_are_those_of_single_runs(tmp_path):
    """On the backbone of the package, with its dropout: the same files, keys and figures; times aside."""
    base = replace(experiment(epochs=2, batch_size=8), task=rows(tmp_path), text=Text(train_rows=20))
    changes = [{}, {"lr": 1e-2}, {"seed": 4}]
    runs = [replace(base, training=replace(base.training, **change)) for change in changes]
    places = {tmp_path / f"together-{number}": run for number, run in enumerate(runs)}
    assert not _run_together(places)
    for place, one in places.items():
        found, expected = asdict(read_result(place)), asdict(run(one, tmp_path / f"alone-{place.name}", quiet=True))
        assert found.pop("together") == 3
        assert expected.pop("together") == 1
        for result in (found, expected):
            result.pop("seconds")
            result["cost"] = {k: v for k, v in result["cost"].items() if "seconds" not in k and k != "peak_memory"}
        history = [found.pop("history"), expected.pop("history")]
        assert found == expected
        for ours, theirs in zip(*history, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)
        adapters = [load_file(folder / TENSORS) for folder in (place, tmp_path / f"alone-{place.name}")]
        torch.testing.assert_close(*adapters, **CLOSE)
        assert not (place / CHECKPOINT).exists()


def sweepable(folder, **changes):
    training = Training(**{"lr": 1e-3, "epochs": 1, "batch_size": 8, **changes})
    return Experiment(method=METHODS["compacter++"], task=rows(folder), training=training, text=Text(train_rows=12))


@pytest.mark.slow
def test_a_packed_sweep_leaves_the_files_of_an_unpacked_one(tmp_path):
    """With a run that diverges among them; the others are trained together with it."""
    runs = [sweepable(tmp_path, **changes) for changes in ({}, {"seed": 5}, {"lr": 1e30}, {"lr": 1e-2})]
    single = replace(runs[0], method=METHODS["prompt-r"])
    turns = []

    def counting(jobs, progress):
        turns.append([job.key for job in jobs])
        yield from here(jobs, progress)

    packed = sweep([*runs, single], tmp_path / "packed", executor=counting, pack=1, quiet=True)
    assert turns == [[experiment_key(runs[1]), experiment_key(single)]]  # the first seed brings the others
    plain = sweep([*runs, single], tmp_path / "plain", executor=here, quiet=True)
    assert list(packed.results) == list(plain.results)
    assert [result.together for result in packed.results.values()] == [4, 4, 4, 1]
    for found, expected in zip(packed.results.values(), plain.results.values(), strict=True):
        assert found.experiment == expected.experiment
        assert found.metrics == expected.metrics
    assert list(packed.failed) == list(plain.failed) == [experiment_key(runs[2])]
    assert "the loss is nan" in packed.failed[experiment_key(runs[2])]
    names = [sorted(str(path.relative_to(tmp_path / folder)) for path in (tmp_path / folder).rglob("*.json"))
             for folder in ("packed", "plain")]  # fmt: skip
    assert names[0] == names[1]


@pytest.mark.slow
def test_a_pack_that_fails_is_run_one_by_one_and_what_is_done_or_elsewhere_is_left(tmp_path):
    """A folder where a file should be written breaks the pack off; it is then cleared away."""
    runs = [sweepable(tmp_path, seed=seed) for seed in (1, 2, 3, 4)]
    output = tmp_path / "out"
    sweep(runs[:1], output, executor=here, quiet=True)
    before = (output / experiment_key(runs[0]) / RESULT).read_bytes()
    (output / experiment_key(runs[1]) / "README.md").mkdir(parents=True)
    (output / experiment_key(runs[1]) / EXPERIMENT).write_text(json.dumps(runs[1].to_json()))
    with FileLock(output / f"{experiment_key(runs[3])}.lock"):
        swept = sweep(runs, output, executor=here, pack=1, quiet=True)
    assert list(swept.results) == [experiment_key(run) for run in runs[:3]]
    assert swept.elsewhere == (experiment_key(runs[3]),)
    assert (output / experiment_key(runs[0]) / RESULT).read_bytes() == before
    assert swept.results[experiment_key(runs[1])].together == 1


def test_a_pack_that_fails_is_tried_once(tmp_path, monkeypatch):
    tried = []

    def failing(experiments, until, states):
        tried.append(list(experiments))
        raise MemoryError

    monkeypatch.setattr("hyperadapters.sweeps.attempts._run_together", failing)
    swept = sweep(
        [sweepable(tmp_path, seed=seed) for seed in (1, 2)], tmp_path / "out", executor=here, pack=1, quiet=True
    )
    assert [len(pack) for pack in tried] == [2]
    assert len(swept.results) == 2


@pytest.mark.parametrize(
    ("training", "evaluation", "message"),
    [
        ({"class_weights": "balanced"}, {}, "the answers of rows are not one class a row"),
        ({}, {"metric": "accuracy"}, "no metric for answers that are a text"),
        ({"reuse": "fp32"}, {}, "so that nothing can be kept"),
    ],
)
def test_what_a_run_by_itself_refuses_its_pack_refuses_too(training, evaluation, message, tmp_path):
    runs = [sweepable(tmp_path, lr=lr, **training) for lr in (1e-3, 1e-2)]
    task = replace(runs[0].task, answers="text")
    runs = [replace(one, task=task, evaluation=Evaluation(**evaluation)) for one in runs]
    found = sweep(runs, tmp_path / "out", executor=here, pack=1, quiet=True)
    assert not found.results
    assert all(message in why for why in found.failed.values())
    assert len(found.failed) == 2
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
