"""Full fine-tuning, the baseline of every paper."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import ModelStructure
from hyperadapters.delta import Method, Part, WholeBackbone, check_writable


@dataclass(frozen=True, kw_only=True)
class FullFineTuning(Method):
    """Every parameter of the backbone trains; tied embeddings count once."""

    learning_rate: ClassVar[float] = 3e-4

    def check(self, anatomy: ModelStructure) -> None:
        """Raise InputError if the backbone is quantised or offloaded."""
        check_writable(self, anatomy)

    def build(self, backbone: nn.Module, anatomy: ModelStructure, tasks: int) -> dict[str, Part]:
        """One part: the backbone itself."""
        return {"backbone": WholeBackbone(backbone)}


@dataclass(frozen=True, kw_only=True)
class FullMultiTask(Method):
    """Every parameter of the backbone trains, on all tasks at once (HyperFormer, arXiv:2106.04489v1, §3)."""

    learning_rate: ClassVar[float] = 3e-4
    many_tasks: ClassVar[bool] = True

    def check(self, anatomy: ModelStructure) -> None:
        """Raise InputError if the backbone is quantised or offloaded."""
        check_writable(self, anatomy)

    def build(self, backbone: nn.Module, anatomy: ModelStructure, tasks: int) -> dict[str, Part]:
        """One part, which all tasks share: the backbone itself."""
        return {"backbone": WholeBackbone(backbone)}

    def plain(self) -> Method:
        """Raise InputError: no task has weights of its own."""
        raise InputError("FullMultiTask has one set of weights for all tasks: there is nothing to bake. Save it whole.")


PRESETS: dict[str, Method] = {"full": FullFineTuning(), "full-multitask": FullMultiTask()}
