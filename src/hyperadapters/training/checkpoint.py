"""Checkpoints: the tensors and the position from which an interrupted run continues to the bit.

A checkpoint is one safetensors file. Its tensors are the trained ones (`delta.*`), AdamW's moments (`optimizer.*`) and
the random states of all processes (`random.*`); its metadata holds the position as JSON, the settings of the run, and
what else must be the same when the run is resumed (`fixed`).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather
from torch import Tensor

from hyperadapters._utils import InputError, json_object, listed, read_tensors, settings, write_tensors

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class _TrainingState:
    """The position of a run, and what it has found so far."""

    epoch: int = 0
    batch: int = 0
    """Batches of this epoch that are done."""
    step: int = 0
    loss_sum: float = 0.0
    """Sum of the losses of the steps since the last evaluation."""
    loss_steps: int = 0
    """Steps since the last evaluation."""
    best: float = -math.inf
    """Mean metric of the best evaluation."""
    best_step: int = 0
    without_gain: int = 0
    """Evaluations since the best."""
    tokens: int = 0
    padded_tokens: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry for each evaluation: epoch, step, loss, share of invalid answers, metrics."""


@dataclass(frozen=True)
class _Checkpoint:
    """What a checkpoint file holds besides its metadata of what must be the same."""

    state: _TrainingState
    trained: Mapping[str, Tensor]
    """The trained tensors, by their names in the Delta."""
    moments: Mapping[int, Mapping[str, Tensor]]
    """AdamW's state of each trained tensor, by the tensor's place in the optimizer."""
    random: Mapping[str, Tensor]
    """By type of device (cpu, cuda), the states of the generators: one row for each process."""


def _write_checkpoint(path: Path, checkpoint: _Checkpoint, run_settings: str, fixed: Mapping[str, str]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file; its folder is made if there is none.
        checkpoint: what it holds.
        run_settings: the settings of the run as JSON, which must be the same when it is resumed.
        fixed: what else must be the same, each as text by what errors call it.
    """
    tensors = {f"delta.{name}": tensor for name, tensor in checkpoint.trained.items()}
    for index, moments in checkpoint.moments.items():
        tensors |= {f"optimizer.{index}.{key}": tensor for key, tensor in moments.items()}
    tensors |= {f"random.{device}": states for device, states in checkpoint.random.items()}
    metadata = {"state": json.dumps(asdict(checkpoint.state)), "settings": run_settings, **fixed}
    write_tensors(path, tensors, metadata)


def _read_checkpoint(
    path: Path, trained: Mapping[str, Tensor], processes: int, run_settings: str, fixed: Mapping[str, str]
) -> _Checkpoint:
    """Read a checkpoint, after checking that it is whole and of this run.

    Args:
        path: the file.
        trained: the tensors that the run trains, by their names in the Delta and in the optimizer's order.
        processes: how many processes train.
        run_settings: as in `write_checkpoint`.
        fixed: as in `write_checkpoint`.

    Raises:
        InputError: it is of a run with other settings, or was written with another backbone, evaluation or choice of
            trained tensors; or the file is damaged.
    """
    tensors, metadata = read_tensors(path)
    _check_same_run(path, tensors, metadata, trained, run_settings, fixed)
    _check_shapes(path, tensors, trained, processes)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer", tensors).items():
        index, key = name.split(".")
        moments.setdefault(int(index), {})[key] = tensor
    state = _parse_state(path, metadata.get("state", ""))
    return _Checkpoint(state, _below("delta", tensors), moments, _below("random", tensors))


def _check_same_run(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    trained: Mapping[str, Tensor],
    run_settings: str,
    fixed: Mapping[str, str],
) -> None:
    """Raise InputError, saying what differs, unless a checkpoint is of the run with these settings."""
    if metadata.get("settings") != run_settings:
        raise InputError(
            f"{path} is of a run with other settings; resume with the settings it was started with:\n"
            f"  then: {metadata.get('settings')}\n  now:  {run_settings}"
        )
    others = [what for what, value in fixed.items() if metadata.get(what) != value]
    others += ["choice of trained tensors"] if {f"delta.{name}" for name in trained} != {*_named(tensors)} else []
    if others:
        raise InputError(f"{path} was written with another {' and '.join(others)}; resume with the same.")


def _named(tensors: Mapping[str, Tensor]) -> list[str]:
    return [name for name in tensors if name.startswith("delta.")]


def _check_shapes(path: Path, tensors: Mapping[str, Tensor], trained: Mapping[str, Tensor], processes: int) -> None:
    """Raise InputError unless a checkpoint's tensors are those of a run that trains `trained` in so many processes.

    A trained tensor that has had no gradient yet has no moments.
    """
    expected = {f"delta.{name}": (tensor.dtype, tensor.shape) for name, tensor in trained.items()}
    for index, tensor in enumerate(trained.values()):
        if f"optimizer.{index}.step" in tensors:
            expected[f"optimizer.{index}.step"] = (torch.float32, torch.Size())
            moment = (tensor.dtype, tensor.shape)
            expected |= {f"optimizer.{index}.{key}": moment for key in ("exp_avg", "exp_avg_sq")}
    for name in ("random.cpu", *(["random.cuda"] if "random.cuda" in tensors else [])):
        size = torch.get_rng_state().numel() if name == "random.cpu" else tensors[name].shape[-1]
        expected[name] = (torch.uint8, torch.Size((processes, size)))
    found = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise InputError(
            f"{path} is damaged: {listed(wrong)} missing, not of this run, or of another shape or type. Delete it to "
            "train from the beginning."
        )


def _parse_state(path: Path, text: str) -> _TrainingState:
    """Return the position that a checkpoint states.

    Raises:
        InputError: it is not JSON, or fields are missing, unknown, of a wrong type or negative.
    """
    where = f"{path}: state"
    state = settings.parse(_TrainingState, json_object(text.encode(errors="replace"), where), where)
    counts = {name: value for name, value in asdict(state).items() if isinstance(value, int | float) and name != "best"}
    if negative := [f"{name} is {value}" for name, value in counts.items() if not 0 <= value < math.inf]:
        raise InputError(f"{where} is damaged: {', '.join(negative)}. Delete the file to train from the beginning.")
    return state


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _snapshot(trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a copy of tensors in host memory, by the same names."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in trained.items()}


def _gather_random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of all processes' generators, by type of device; every process must call it."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return {kind: gather(state.to(device).unsqueeze(0)).cpu() for kind, state in states.items()}


def _set_random_states(states: Mapping[str, Tensor], process: int, device: torch.device) -> None:
    """Set this process's generators to their states in a checkpoint."""
    torch.set_rng_state(states["cpu"][process].clone())  # torch reads a view from where its storage begins
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"][process].clone(), device)
