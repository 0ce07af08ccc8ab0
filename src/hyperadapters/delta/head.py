"""The Delta's own task head."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters.backbones import ModelStructure
from hyperadapters.delta.by_row import ByRow
from hyperadapters.delta.owned_tensors import OwnedTensors
from hyperadapters.delta.part import Handle


class Head(OwnedTensors):
    """The Delta's own task head. While it is in use the backbone knows how many logits there are, as its loss asks."""

    @property
    def outputs(self) -> int:
        """How many logits it has."""
        return self.shapes[-1][0]

    def install(self, backbone: nn.Module, generated: Callable[[], Sequence[Tensor | ByRow]]) -> list[Handle]:
        """Hooks around the head's modules, and the number of its logits."""
        return [*super().install(backbone, generated), Logits(backbone, self.outputs)]


class Logits:
    """How many logits a backbone says it has, until it is taken back."""

    def __init__(self, backbone: nn.Module, number: int) -> None:
        config: Any = backbone.config
        self.config, self.backbone = config, backbone
        self.before = {name: getattr(config, name, None) for name in ("id2label", "label2id", "problem_type")}
        self.theirs = config.num_labels
        self.say(number)
        if number != self.theirs:
            config.problem_type = None

    def say(self, number: int) -> None:
        """Write the number where a model reads it."""
        self.config.num_labels = number
        if "num_labels" in vars(self.backbone):
            self.backbone.num_labels = number  # type: ignore[assignment]

    def remove(self) -> None:
        """What the backbone said before."""
        self.say(self.theirs)
        for name, value in self.before.items():
            setattr(self.config, name, value)


def owned_head(backbone: nn.Module, structure: ModelStructure, outputs: int | None, adapters: int = 1) -> Head:
    """A classification or regression head with `outputs` logits, or None: as the backbone's own, with its values.

    With a number given, the last layer is drawn anew, N(0, initializer_range²) with biases of zero, as transformers
    draws it; what stands before it starts from the backbone's values.
    """
    values: dict[str, Tensor] = {}
    if outputs is not None:
        last, _, _ = structure.head[-1].rpartition(".")
        width = backbone.get_parameter(f"{last}.weight").shape[1]
        std = getattr(backbone.config, "initializer_range", 0.02)
        values = {f"{last}.weight": torch.randn(outputs, width) * std, f"{last}.bias": torch.zeros(outputs)}
    return Head("head", backbone, [(path,) for path in structure.head], values, adapters)
