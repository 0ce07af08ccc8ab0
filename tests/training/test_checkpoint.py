"""What a checkpoint holds, and what it is refused for."""

import json
import math
from dataclasses import asdict

import pytest
import torch

from hyperadapters import InputError
from hyperadapters._utils import copy_tensors, read_tensors, write_tensors
from hyperadapters.training.checkpoint import (
    _Checkpoint,
    _gather_random_states,
    _read_checkpoint,
    _set_random_states,
    _snapshot,
    _TrainingState,
    _write_checkpoint,
)

FIXED = {"backbone": "abc", "evaluation": "{}", "task that trains": "None"}
CPU = torch.device("cpu")


@pytest.fixture
def checkpoint():
    trained = {"adapter.weight": torch.randn(3, 2), "head.bias.0": torch.randn(2)}
    moments = {
        i: {"step": torch.tensor(4.0), "exp_avg": torch.randn_like(tensor), "exp_avg_sq": torch.rand_like(tensor)}
        for i, tensor in enumerate(trained.values())
    }
    state = _TrainingState(epoch=1, batch=2, step=5, best=0.75, history=[{"epoch": 1, "accuracy": 0.75}])
    return _Checkpoint(state, trained, moments, _gather_random_states(CPU))


def write(path, checkpoint):
    _write_checkpoint(path, checkpoint, "settings", FIXED)
    return path


SHAPES = {"adapter.weight": (3, 2), "head.bias.0": (2,)}


def read(path, shapes=SHAPES, settings="settings", **changes):
    trained = {name: torch.zeros(shape) for name, shape in shapes.items()}
    return _read_checkpoint(path, trained, 1, settings, {**FIXED, **changes})


def test_what_is_written_is_read_to_the_bit(checkpoint, tmp_path):
    found = read(write(tmp_path / "new" / "checkpoint.safetensors", checkpoint))
    assert found.state == checkpoint.state
    for ours, theirs in ((found.trained, checkpoint.trained), (found.random, checkpoint.random)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert found.moments.keys() == checkpoint.moments.keys()
    for index, moments in checkpoint.moments.items():
        assert all(torch.equal(found.moments[index][name], tensor) for name, tensor in moments.items())


def test_another_run_is_refused_with_what_differs(checkpoint, tmp_path):
    path = write(tmp_path / "checkpoint.safetensors", checkpoint)
    with pytest.raises(InputError, match=r"(?s)other settings.*then: settings.*now:  others"):
        read(path, settings="others")
    with pytest.raises(InputError, match="written with another backbone and evaluation; resume with the same"):
        read(path, backbone="xyz", evaluation="[]")
    with pytest.raises(InputError, match="written with another task that trains and choice of trained tensors"):
        read(path, shapes={"other": (1,)}, **{"task that trains": "1"})


def rewritten(path, change):
    """The file with its tensors and metadata changed, and a checksum that fits."""
    tensors, metadata = read_tensors(path)
    tensors, metadata = {name: tensor.clone() for name, tensor in tensors.items()}, dict(metadata)
    change(tensors, metadata)
    write_tensors(path, tensors, metadata)
    return path


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("{", "state is not JSON"),
        ("[]", "holds a list, not a JSON object"),
        ("{}", "state.epoch: missing"),
        ({"step": "many"}, "state.step='many'"),
        ({"step": -1}, "step is -1"),
        ({"seconds": math.inf}, "seconds is inf"),
        ({"loss_sum": None}, "state.loss_sum=None"),
        ({"history": [1]}, "state.history.0=1"),
        ({"new": 1}, "state.new"),
    ],
)
def test_a_position_that_no_run_has_is_refused_in_words(checkpoint, tmp_path, state, message):
    path = write(tmp_path / "checkpoint.safetensors", checkpoint)
    text = state if isinstance(state, str) else json.dumps({**asdict(checkpoint.state), **state})
    rewritten(path, lambda tensors, metadata: metadata.update(state=text))
    with pytest.raises(InputError, match=message):
        read(path)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("delta.adapter.weight", torch.zeros(2, 3)),
        ("optimizer.0.exp_avg", torch.zeros(6)),
        ("optimizer.7.step", torch.zeros(())),
        ("optimizer.x", torch.zeros(())),
        ("random.cpu", torch.zeros(1, 8, dtype=torch.uint8)),
        ("random.cpu", torch.zeros(2, torch.get_rng_state().numel(), dtype=torch.uint8)),
        ("stranger", torch.zeros(1)),
    ],
)
def test_tensors_that_are_not_the_run_s_are_named(checkpoint, tmp_path, name, tensor):
    path = write(tmp_path / "checkpoint.safetensors", checkpoint)
    rewritten(path, lambda tensors, metadata: tensors.update({name: tensor}))
    with pytest.raises(InputError, match=rf"damaged: {name} missing, not of this run, or of another shape"):
        read(path)


def test_a_moment_that_is_missing_is_told(checkpoint, tmp_path):
    path = write(tmp_path / "checkpoint.safetensors", checkpoint)
    rewritten(path, lambda tensors, metadata: tensors.pop("optimizer.1.exp_avg_sq"))
    with pytest.raises(InputError, match=r"optimizer.1.exp_avg_sq missing"):
        read(path)


def test_the_generators_go_on_where_they_were(checkpoint, tmp_path):
    expected = torch.rand(3)
    found = read(write(tmp_path / "checkpoint.safetensors", checkpoint))
    _set_random_states(found.random, 0, CPU)
    assert torch.equal(torch.rand(3), expected)


def test_a_snapshot_stays_when_training_goes_on(checkpoint):
    kept = _snapshot(checkpoint.trained)
    before = {name: tensor.clone() for name, tensor in checkpoint.trained.items()}
    for tensor in checkpoint.trained.values():
        tensor.add_(1)
    assert all(torch.equal(kept[name], before[name]) for name in before)
    copy_tensors(kept, checkpoint.trained)
    assert all(torch.equal(checkpoint.trained[name], before[name]) for name in before)
