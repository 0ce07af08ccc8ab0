"""Parts: the components of a Delta, each with its trained tensors and the way it changes the backbone's computation.

A part holds parameters, computes from them once per forward pass what the backbone needs (`generate`), and applies it
with forward hooks (`install`). Every tensor has the adapter axis first.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from hyperadapters.layers import AdapterIndex, TaskStates

ParameterKind = Literal["adapter", "shared", "prompt", "norm", "bias", "head", "backbone"]

_PARAMETER_KINDS: tuple[ParameterKind, ...] = get_args(ParameterKind)
"""The kinds of trained parameters, by the names used in tables and files."""


class Handle(Protocol):
    """Something installed in a backbone that can be removed again, such as torch's handle of a hook."""

    def remove(self) -> None:
        """Undo the installation."""


Place = Callable[[int], Callable[[], Any]]
"""Gives a module of the backbone the function by which it gets what a part computed for it (`Part.install`)."""


class Part(nn.Module, ABC):
    """A group of trained tensors of a Delta, and the way they change the backbone's computation.

    A method's `build` makes the parts of a Delta. A subclass says how weights are computed and where they are applied.
    """

    in_place: ClassVar[bool] = False
    """Whether the part trains the backbone's own tensors."""

    @abstractmethod
    def kind(self, tensor: str) -> ParameterKind:
        """Return the kind of one of this part's tensors.

        Args:
            tensor: its name in the part.
        """

    @abstractmethod
    def generate(self, rows: AdapterIndex) -> Any:
        """Compute from the parameters a sequence of what the hooks apply during one forward pass.

        It is called once per pass, and again where a pass cannot use what it has computed (`generation`).

        Args:
            rows: which adapters the batch uses, and which of them each row uses.
        """

    @abstractmethod
    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Register hooks in the backbone.

        Args:
            backbone: the model to change.
            place: called with an index for every module that uses something of what `generate` returns, it gives a
                function without arguments. The hook of that module, and no other, calls it whenever the module runs,
                and gets what has this index in what `generate` computed for the current pass.

        Returns:
            Handles that remove everything that was installed.
        """

    def reads(self) -> tuple[str, ...]:
        """Return the paths of the backbone's layers whose outputs this part reads without changing them."""
        return ()

    def known_of_tasks(self) -> TaskStates | None:
        """Return the states from which this part reads what its tasks are; None: it reads nothing."""
        return None

    def trained(self, backbone: nn.Module) -> dict[str, nn.Parameter]:
        """Return the tensors that train, by name."""
        return dict(self.named_parameters())

    def values(self, backbone: nn.Module) -> Mapping[str, Tensor]:
        """Return the trained tensors' values by name, whether the Delta is in use or at rest."""
        return self.trained(backbone)

    def per_adapter(self) -> tuple[str, ...]:
        """Return the names of the tensors that each adapter has for itself; all adapters share the others."""
        return tuple(self.held())

    def held(self) -> dict[str, Tensor]:
        """Return every tensor of this part by name, trained or fixed."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def padding(self, tensor: str, adapter: int | None = None) -> int:
        """Return how many numbers of a tensor no adapter computes with, because others have more there.

        Args:
            tensor: its name in the part.
            adapter: count those of this adapter alone; None: of all.
        """
        return 0

    def baked(self, task: int) -> dict[str, Tensor]:
        """Return the tensors of one adapter, as the same part of the method's `plain` form has them.

        Args:
            task: the adapter's number.
        """
        own = self.per_adapter()
        return {name: tensor[task : task + 1] if name in own else tensor for name, tensor in self.held().items()}

    @torch.no_grad()
    def grow(self, like: Sequence[int]) -> None:
        """Append one adapter to the adapter axis.

        Args:
            like: numbers of the adapters whose mean it starts from.
        """
        for name in self.per_adapter():
            path, _, attribute = name.rpartition(".")
            owner, tensor = self.get_submodule(path), self.held()[name]
            grown = torch.cat([tensor, tensor[list(like)].mean(0, keepdim=True)])
            trains = isinstance(tensor, nn.Parameter)
            setattr(owner, attribute, nn.Parameter(grown, tensor.requires_grad) if trains else grown)

    def original(self) -> dict[str, Tensor] | None:
        """Return the backbone's original tensors if this part has overwritten or wrapped them, else None."""
        return None
