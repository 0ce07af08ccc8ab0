"""This process among those of a run that `torchrun` or `accelerate launch` started."""

import os

import torch
from accelerate import PartialState
from accelerate.utils import str_to_bool


def process_state() -> PartialState:
    """Return this process's place among the run's processes, and its device.

    `PartialState()` by itself makes each process the only one where there is no accelerator, and does not read
    `ACCELERATE_USE_CPU`, which `Accelerator` does. All code of ours therefore asks here.
    """
    on_cpu = bool(str_to_bool(os.environ.get("ACCELERATE_USE_CPU", "false")))
    return PartialState(cpu=on_cpu or not torch.accelerator.is_available())
