"""The Delta's own task head, for classification or regression."""

from typing import Any

import torch
from torch import Tensor, nn

from hyperadapters.backbones import ModelStructure
from hyperadapters.delta.owned_tensors import OwnedTensors
from hyperadapters.delta.part import Handle, Place


class _Head(OwnedTensors):
    """The Delta's own task head.

    While the Delta is in use, the backbone's configuration states this head's number of logits, because its loss reads
    it there.
    """

    @property
    def outputs(self) -> int:
        """The number of logits."""
        return self.shapes[-1][0]

    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Register hooks around the head's modules, and set the backbone's number of logits."""
        return [*super().install(backbone, place), _Logits(backbone, self.outputs)]


class _Logits:
    """Sets the number of logits in a backbone's configuration, until `remove` restores the previous one.

    What `save_pretrained` writes is the backbone's own number and names of labels, which fit the head that it writes.
    """

    def __init__(self, backbone: nn.Module, number: int) -> None:
        config: Any = backbone.config
        self.config, self.backbone, self.number = config, backbone, number
        self.before = {name: getattr(config, name, None) for name in ("id2label", "label2id", "problem_type")}
        self.theirs = config.num_labels
        self.save = backbone.save_pretrained
        object.__setattr__(backbone, "save_pretrained", self.save_with_own_labels)
        self.set()

    def set(self) -> None:
        """Write the number of logits where the model reads it."""
        self._say(self.number)
        if self.number != self.theirs:
            self.config.problem_type = None

    def save_with_own_labels(self, *args: Any, **kwargs: Any) -> Any:
        """Save the backbone as its own `save_pretrained` does, with its own configuration."""
        self.restore()
        try:
            return self.save(*args, **kwargs)  # type: ignore[operator]
        finally:
            self.set()

    def _say(self, number: int) -> None:
        self.config.num_labels = number
        if "num_labels" in vars(self.backbone):
            self.backbone.num_labels = number  # type: ignore[assignment]

    def restore(self) -> None:
        """Write the backbone's own labels into its configuration."""
        self._say(self.theirs)
        for name, value in self.before.items():
            setattr(self.config, name, value)

    def remove(self) -> None:
        """Restore the backbone's own configuration, for good."""
        self.restore()
        vars(self.backbone).pop("save_pretrained", None)


def _owned_head(backbone: nn.Module, structure: ModelStructure, outputs: int | None, adapters: int = 1) -> _Head:
    """Build a classification or regression head of the Delta's own.

    Args:
        backbone: a model with a task head.
        structure: of the backbone.
        outputs: number of logits. The last layer is then initialised as transformers does, with weights from
            N(0, initializer_range²) and biases of zero, and the head's other layers start from the backbone's values.
            None: the whole head starts as a copy of the backbone's.
        adapters: length of the adapter axis: every task has a head of its own.
    """
    values: dict[str, Tensor] = {}
    if outputs is not None:
        last, _, _ = structure.head[-1].rpartition(".")
        width = backbone.get_parameter(f"{last}.weight").shape[1]
        std = getattr(backbone.config, "initializer_range", 0.02)
        values = {f"{last}.weight": torch.randn(outputs, width) * std, f"{last}.bias": torch.zeros(outputs)}
    return _Head("head", backbone, [(path,) for path in structure.head], values, adapters)
