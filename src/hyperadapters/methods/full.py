"""Full fine-tuning, the baseline of every paper."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import ModelStructure, own_parameters
from hyperadapters.delta import Handle, Method, ParameterKind, Part, check_writable
from hyperadapters.layers import AdapterIndex


class WholeBackbone(Part):
    """Full fine-tuning: every parameter of the backbone trains in place; what it was is kept in host memory."""

    in_place: ClassVar[bool] = True

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


@dataclass(frozen=True, kw_only=True)
class FullFineTuning(Method):
    """Every parameter of the backbone trains; tied embeddings count once."""

    learning_rate: ClassVar[float] = 3e-4

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if the backbone is quantised or offloaded."""
        check_writable(self, structure)

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """One part: the backbone itself."""
        return {"backbone": WholeBackbone(backbone)}


@dataclass(frozen=True, kw_only=True)
class FullMultiTask(Method):
    """Every parameter of the backbone trains, on all tasks at once (HyperFormer, arXiv:2106.04489v1, §3)."""

    learning_rate: ClassVar[float] = 3e-4
    many_tasks: ClassVar[bool] = True

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if the backbone is quantised or offloaded."""
        check_writable(self, structure)

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """One part, which all tasks share: the backbone itself."""
        return {"backbone": WholeBackbone(backbone)}

    def plain(self) -> Method:
        """Raise InputError: no task has weights of its own."""
        raise InputError("FullMultiTask has one set of weights for all tasks: there is nothing to bake. Save it whole.")


PRESETS: dict[str, Method] = {"full": FullFineTuning(), "full-multitask": FullMultiTask()}
