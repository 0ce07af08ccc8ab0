"""What a checkpoint holds, and what it is refused for."""

import pytest
import torch

from hyperadapters import InputError
from hyperadapters.training.checkpoint import (
    _Checkpoint,
    _copy_values,
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
        i: {"step": torch.tensor(4.0), "exp_avg": torch.randn_like(tensor)} for i, tensor in enumerate(trained.values())
    }
    state = _TrainingState(epoch=1, batch=2, step=5, best=0.75, history=[{"epoch": 1, "accuracy": 0.75}])
    return _Checkpoint(state, trained, moments, _gather_random_states(CPU))


def write(path, checkpoint):
    _write_checkpoint(path, checkpoint, "settings", FIXED)
    return path


def read(path, names=("adapter.weight", "head.bias.0"), settings="settings", **changes):
    return _read_checkpoint(path, set(names), settings, {**FIXED, **changes})


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
        read(path, names=("other",), **{"task that trains": "1"})


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
    _copy_values(kept, checkpoint.trained)
    assert all(torch.equal(checkpoint.trained[name], before[name]) for name in before)
