"""Layer norms and task head alone: what adapters must beat (Houlsby et al., arXiv:1902.00751v2, §3.4)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import ModelStructure
from hyperadapters.delta import Method, Part, owned_norms


@dataclass(frozen=True, kw_only=True)
class WithoutAdapters(Method):
    """No adapters: every layer norm trains and, where the backbone has one, the task head."""

    learning_rate: ClassVar[float] = 3e-3
    many_tasks: ClassVar[bool] = True

    norms: bool = True
    """Train the norms; otherwise the task head alone."""

    @property
    def separable(self) -> bool:
        """Every task has all of it for itself."""
        return True

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if nothing would train."""
        if not self.norms and not structure.head:
            raise InputError(
                "WithoutAdapters(norms=False) trains the task head alone, but this backbone has none. Train the norms, "
                "or use an encoder with a classification head."
            )

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """The norms; a head comes with every Delta."""
        return {"norms": owned_norms(backbone, structure, tasks)} if self.norms else {}


PRESETS: dict[str, Method] = {"norms": WithoutAdapters()}
