"""What adapters read that do not read the output of their own sub-layer: the residual stream beside it."""

import threading
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import Placement, Residual


class _ResidualInput:
    """Keeps the residual stream when it is seen, until the site behind it uses it; every thread has its own.

    Args:
        placement: what the adapter reads.
        residual: where the residual stream is seen.
        norm: the norm of the sum; None if there is none.
    """

    def __init__(self, placement: Placement, residual: Residual, norm: nn.Module | None) -> None:
        self.placement, self.residual, self.norm = placement, residual, norm
        self.seen: dict[int, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "seen": {}}  # a copy of a backbone starts empty

    def keep(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the residual stream (a forward pre-hook)."""
        number = self.residual.argument
        found = args[number] if len(args) > number else kwargs.get("input_tensor" if number else "hidden_states")
        if not isinstance(found, Tensor):
            raise InputError(
                f"{self.residual.module} was called without the residual stream as argument {number}, which adapters "
                f"with placement={self.placement!r} read. Use placement='in_line'."
            )
        self.seen[_thread()] = found

    def read(self, y: Tensor) -> Tensor:
        """Return what the adapter reads, beside the output y of its sub-layer.

        Raises:
            InputError: the sub-layer was called by itself.
        """
        found = self.seen.pop(_thread(), None)
        if found is None:
            raise InputError(
                f"{self.residual.module} has not run before this sub-layer, so what its adapter reads is not known. "
                "Call the model, or one of its layers, as a whole."
            )
        if self.placement == "parallel":
            return found
        together: Tensor = y + found
        return together if self.norm is None else self.norm(together)


def _thread() -> int:
    """Return the thread's identifier; in code that torch.compile traces there is one thread."""
    return 0 if torch.compiler.is_compiling() else threading.get_ident()
