"""Training layer norms and task head only, a baseline of adapters (Houlsby et al., arXiv:1902.00751v2, §3.4)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import ModelStructure
from hyperadapters.delta import Method, Part, owned_norms


@dataclass(frozen=True, kw_only=True)
class WithoutAdapters(Method):
    """No adapters: only the layer norms train, and the task head if the backbone has one.

    The baseline of Houlsby et al., arXiv:1902.00751v2, §3.4.
    """

    learning_rate: ClassVar[float] = 3e-3
    many_tasks: ClassVar[bool] = True

    norms: bool = True
    """Train the layer norms; otherwise only the task head."""

    @property
    def separable(self) -> bool:
        """Whether tasks share no tensor: they share none."""
        return True

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if nothing would train."""
        if not self.norms and not structure.head:
            raise InputError(
                "WithoutAdapters(norms=False) trains the task head alone, but this backbone has none. Train the norms, "
                "or use an encoder with a classification head."
            )

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build the norms; every Delta has its own head anyway."""
        return {"norms": owned_norms(backbone, structure.norms, tasks)} if self.norms else {}


PRESETS: dict[str, Method] = {"norms": WithoutAdapters()}
