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

from hyperadapters._utils import InputError, files

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


def _write_checkpoint(path: Path, checkpoint: _Checkpoint, settings: str, fixed: Mapping[str, str]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file; its folder is made if there is none.
        checkpoint: what it holds.
        settings: the settings of the run as JSON, which must be the same when it is resumed.
        fixed: what else must be the same, each as text by what errors call it.
    """
    tensors = {f"delta.{name}": tensor for name, tensor in checkpoint.trained.items()}
    for index, moments in checkpoint.moments.items():
        tensors |= {f"optimizer.{index}.{key}": tensor for key, tensor in moments.items()}
    tensors |= {f"random.{device}": states for device, states in checkpoint.random.items()}
    metadata = {"state": json.dumps(asdict(checkpoint.state)), "settings": settings, **fixed}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_tensors(path, tensors, metadata)


def _read_checkpoint(path: Path, names: set[str], settings: str, fixed: Mapping[str, str]) -> _Checkpoint:
    """Read a checkpoint, after checking that it is of this run.

    Args:
        path: the file.
        names: names of the tensors that the run trains.
        settings: as in `write_checkpoint`.
        fixed: as in `write_checkpoint`.

    Raises:
        InputError: it is of a run with other settings, or was written with another backbone, evaluation or choice of
            trained tensors; or the file is damaged.
    """
    with files.open_tensors(path) as file:
        metadata = file.metadata() or {}
        if metadata.get("settings") != settings:
            raise InputError(
                f"{path} is of a run with other settings; resume with the settings it was started with:\n"
                f"  then: {metadata.get('settings')}\n  now:  {settings}"
            )
        others = [what for what, value in fixed.items() if metadata.get(what) != value]
        others += ["choice of trained tensors"] if {f"delta.{name}" for name in names} - {*file.keys()} else []
        if others:
            raise InputError(f"{path} was written with another {' and '.join(others)}; resume with the same.")
        state = _TrainingState(**json.loads(metadata["state"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer", tensors).items():
        index, key = name.split(".")
        moments.setdefault(int(index), {})[key] = tensor
    return _Checkpoint(state, _below("delta", tensors), moments, _below("random", tensors))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _snapshot(trained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a copy of tensors in host memory, by the same names."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in trained.items()}


@torch.no_grad()
def _copy_values(values: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> None:
    """Copy values, such as those of a `snapshot`, into the trained tensors of the same names."""
    for name, tensor in trained.items():
        tensor.copy_(values[name])


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
