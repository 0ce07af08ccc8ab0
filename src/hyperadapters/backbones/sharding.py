"""Parameters that FSDP2 has spread over processes: gathering them, and writing from one process."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def is_sharded(model: nn.Module) -> bool:
    """Return whether `torch.distributed.fsdp.fully_shard` has spread a model's parameters over processes.

    Args:
        model: any module.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False
    from torch.distributed.fsdp import FSDPModule  # noqa: PLC0415 (slow to import, and loaded where it is used)

    return any(isinstance(module, FSDPModule) for module in model.modules())


def whole_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor with all its parts; every process that holds one must call it.

    Args:
        tensor: plain, or a DTensor.
    """
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def on_first_process(write: Callable[[], object]) -> None:
    """Call a function in the first process alone, while the others wait; its error is raised in all of them.

    Args:
        write: what to call.
    """
    problem: list[Exception | None] = [None]
    if torch.distributed.get_rank() == 0:
        try:
            write()
        except Exception as error:
            problem = [error]
    torch.distributed.broadcast_object_list(problem, src=0)
    if problem[0] is not None:
        raise problem[0]
