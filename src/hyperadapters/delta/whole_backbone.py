"""Full fine-tuning: the backbone's own parameters train in place."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters.backbones import own_parameters
from hyperadapters.delta.part import Handle, ParameterKind, Part
from hyperadapters.layers import AdapterIndex


class WholeBackbone(Part):
    """Full fine-tuning: every parameter of the backbone trains in place; what it was is kept in host memory."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.parked = {name: _host_copy(tensor) for name, tensor in own_parameters(backbone).items()}
        self.installed = False

    def kind(self, tensor: str) -> ParameterKind:
        """All of it is the backbone."""
        return "backbone"

    def generate(self, rows: AdapterIndex) -> None:
        """Nothing: the backbone computes with its own tensors."""

    def install(self, backbone: nn.Module, generated: Callable[[], Any]) -> list[Handle]:
        """Put the trained values in the backbone, and the original ones aside."""
        self.exchange(backbone)
        self.installed = True
        return [Restore(self, backbone)]

    @torch.no_grad()
    def exchange(self, backbone: nn.Module) -> None:
        """Swap the parked values with the backbone's."""
        for name, parameter in own_parameters(backbone).items():
            other = self.parked[name]
            self.parked[name] = _host_copy(parameter)
            parameter.copy_(other)

    def trained(self, backbone: nn.Module) -> dict[str, nn.Parameter]:
        """Every parameter of the backbone, a tied one once."""
        return own_parameters(backbone)

    def values(self, backbone: nn.Module) -> Mapping[str, Tensor]:
        """The trained values: in place, or parked while the Delta rests."""
        return own_parameters(backbone) if self.installed else self.parked

    def original(self) -> dict[str, Tensor] | None:
        """The values before training, while the trained ones are in place."""
        return self.parked if self.installed else None


def _host_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone() if tensor.is_meta else tensor.detach().to("cpu", copy=True)


class Restore:
    """Takes full fine-tuning out of a backbone again."""

    def __init__(self, part: WholeBackbone, backbone: nn.Module) -> None:
        self.part, self.backbone = part, backbone

    def remove(self) -> None:
        """Swap back."""
        self.part.exchange(self.backbone)
        self.part.installed = False
