"""Parts: what a Delta is made of, and how each touches the backbone.

A part holds parameters, makes from them once a pass what the backbone needs (`generate`), and puts it in place
with forward hooks (`install`). Every tensor has a leading adapter axis.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from hyperadapters.layers import AdapterIndex

ParameterKind = Literal["adapter", "shared", "prompt", "norm", "bias", "head", "backbone"]

PARAMETER_KINDS: tuple[ParameterKind, ...] = get_args(ParameterKind)
"""Kinds of trained parameters, as tables and files name them."""


class Handle(Protocol):
    """Something that can be taken back, as torch's handles of hooks can."""

    def remove(self) -> None:
        """Undo what was installed."""


class Part(nn.Module, ABC):
    """One group of trained tensors of a Delta and the way it reaches the backbone."""

    in_place: ClassVar[bool] = False
    """Whether it trains the backbone's own tensors."""

    @abstractmethod
    def kind(self, tensor: str) -> ParameterKind:
        """The kind of one of this part's tensors, by its name."""

    @abstractmethod
    def generate(self, rows: AdapterIndex) -> Any:
        """What the hooks use during one pass over these rows, made from the parameters; called once a pass."""

    @abstractmethod
    def install(self, backbone: nn.Module, generated: Callable[[], Any]) -> list[Handle]:
        """Hook into the backbone; `generated` returns what `generate` made for the current pass."""

    def trained(self, backbone: nn.Module) -> dict[str, nn.Parameter]:
        """The tensors that train, by name."""
        return dict(self.named_parameters())

    def values(self, backbone: nn.Module) -> Mapping[str, Tensor]:
        """What the tensors that train are, in use or at rest."""
        return self.trained(backbone)

    def per_adapter(self) -> tuple[str, ...]:
        """Names of the tensors with an axis of adapters; the others serve all of them."""
        return tuple(self.held())

    def held(self) -> dict[str, Tensor]:
        """Every tensor of this part, trained or held fixed."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def baked(self, task: int) -> dict[str, Tensor]:
        """The tensors of one adapter by itself, as the part of the plain method has them."""
        own = self.per_adapter()
        return {name: tensor[task : task + 1] if name in own else tensor for name, tensor in self.held().items()}

    @torch.no_grad()
    def grow(self, like: Sequence[int]) -> None:
        """One adapter more on the axis, the mean of these."""
        for name in self.per_adapter():
            path, _, attribute = name.rpartition(".")
            owner, tensor = self.get_submodule(path), self.held()[name]
            grown = torch.cat([tensor, tensor[list(like)].mean(0, keepdim=True)])
            trains = isinstance(tensor, nn.Parameter)
            setattr(owner, attribute, nn.Parameter(grown, tensor.requires_grad) if trains else grown)

    def original(self) -> dict[str, Tensor] | None:
        """The backbone's tensors as they were, where this part writes them in place; else None."""
        return None
