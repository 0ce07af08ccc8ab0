"""Full fine-tuning, the baseline of all papers on adapters."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import BackboneKind, ModelStructure, own_parameters
from hyperadapters.delta import Handle, Method, ParameterKind, Part, Place, check_writable
from hyperadapters.layers import AdapterIndex


class _WholeBackbone(Part):
    """All parameters of the backbone, trained in place; while the Delta is in use, host memory holds the original ones.

    At rest it is the other way round: the backbone has its original values, and host memory the trained ones.

    Args:
        backbone: the model.
        unread: paths of parameters that no pass computes with, which do not train.
    """

    in_place: ClassVar[bool] = True

    def __init__(self, backbone: nn.Module, unread: Collection[str] = ()) -> None:
        super().__init__()
        self.unread = frozenset(unread)
        self.parked = {name: _host_copy(tensor) for name, tensor in self.trained(backbone).items()}
        self.installed = False

    def kind(self, tensor: str) -> ParameterKind:
        """Return "backbone" for every tensor."""
        return "backbone"

    def generate(self, rows: AdapterIndex) -> None:
        """Do nothing: the backbone computes with its own tensors."""

    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Write the trained values into the backbone, and keep the original ones in host memory."""
        self.exchange(backbone)
        self.installed = True
        return [_Restore(self, backbone)]

    @torch.no_grad()
    def exchange(self, backbone: nn.Module) -> None:
        """Swap the values in host memory with the backbone's.

        A backbone whose vocabulary was resized meanwhile keeps its size: the rows that both have are swapped, and those
        that were added stay as they are.
        """
        parked, self.parked = self.parked, {}
        for name, parameter in self.trained(backbone).items():
            self.parked[name] = _host_copy(parameter)
            if name in parked:
                both = tuple(slice(min(sizes)) for sizes in zip(parameter.shape, parked[name].shape, strict=True))
                parameter[both] = parked[name][both].to(parameter)

    def trained(self, backbone: nn.Module) -> dict[str, nn.Parameter]:
        """Return every parameter of the backbone that a pass computes with, by path, tied ones once."""
        return {name: tensor for name, tensor in own_parameters(backbone).items() if name not in self.unread}

    def values(self, backbone: nn.Module) -> Mapping[str, Tensor]:
        """Return the trained values: the backbone's own tensors, or those in host memory while the Delta rests."""
        return self.trained(backbone) if self.installed else self.parked

    def original(self) -> dict[str, Tensor] | None:
        """Return the original values while the trained ones are in the backbone, else None."""
        return self.parked if self.installed else None


def _host_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone() if tensor.is_meta else tensor.detach().to("cpu", copy=True)


class _Restore:
    """The handle that writes the original values back into the backbone."""

    def __init__(self, part: _WholeBackbone, backbone: nn.Module) -> None:
        self.part, self.backbone = part, backbone

    def remove(self) -> None:
        """Swap trained and original values."""
        self.part.exchange(self.backbone)
        self.part.installed = False


@dataclass(frozen=True, kw_only=True)
class FullFineTuning(Method):
    """Full fine-tuning: every parameter of the backbone trains in place.

    The baseline of Houlsby et al. (arXiv:1902.00751v2, §3) and of Compacter (arXiv:2106.04647v2, §4.2). Tied embeddings
    count once.
    """

    learning_rate: ClassVar[float] = 3e-4
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 1e-4, "encoder-decoder": 1e-3}
    large_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 5e-5}

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if the backbone is quantised or offloaded."""
        check_writable(self, structure)

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build the one part, which is the backbone itself."""
        return {"backbone": _WholeBackbone(backbone, structure.unread)}


@dataclass(frozen=True, kw_only=True)
class FullMultiTask(Method):
    """Full fine-tuning on several tasks at once, which share all weights (HyperFormer, arXiv:2106.04489v1, §3)."""

    learning_rate: ClassVar[float] = 3e-4
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 1e-4}
    large_rates: ClassVar[Mapping[BackboneKind, float]] = FullFineTuning.large_rates
    many_tasks: ClassVar[bool] = True

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if the backbone is quantised or offloaded."""
        check_writable(self, structure)

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build the one part, which is the backbone itself and which all tasks share."""
        return {"backbone": _WholeBackbone(backbone, structure.unread)}

    def plain(self) -> Method:
        """Raise InputError, because no task has weights of its own."""
        raise InputError(
            "FullMultiTask has one set of weights for all tasks: there is nothing to bake. Save the whole Delta."
        )


PRESETS: dict[str, Method] = {"full": FullFineTuning(), "full-multitask": FullMultiTask()}
