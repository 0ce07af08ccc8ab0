"""Intrinsic-SAID: the whole backbone moves inside a random subspace of a few thousand dimensions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import ModelStructure, tensor_users
from hyperadapters.delta import Handle, Method, ParameterKind, Part, check_writable, shadow
from hyperadapters.layers import AdapterIndex, fastfood_multiply, projection_key


class MovedTensors:
    """The backbone's tensors of one pass, θᵢ⁰ + Pᵢ(λᵢ θ), each made when it is first used.

    Autograd runs its latest nodes first. Made this late, the node of a tensor stands right before the operation that
    uses it: the tensor's gradient is projected, and its memory free, before the layer below has its own.
    """

    def __init__(
        self,
        steps: Sequence[Float[Tensor, " theta"]],
        users: Sequence[Sequence[tuple[nn.Module, str]]],
        keys: Sequence[int],
    ) -> None:
        self.steps, self.users, self.keys = steps, users, keys
        self.made: dict[tuple[int, bool], Tensor] = {}

    def __getitem__(self, index: int) -> Tensor:
        wanted = (index, torch.is_grad_enabled())
        if wanted not in self.made:
            module, attribute = self.users[index][0]
            base = module._parameters[attribute]
            self.made[wanted] = fastfood_multiply(base, self.steps[index], self.keys[index])
        return self.made[wanted]


class Subspace(Part):
    """One vector that moves every tensor of the backbone: θ, all zeros at first, then a λ for each tensor, all ones.

    The projections are never stored: they follow from `seed` (`layers/fastfood.py`).
    """

    def __init__(
        self, backbone: nn.Module, structure: ModelStructure, intrinsic_dim: int, seed: int, adapters: int = 1
    ) -> None:
        super().__init__()
        self.entries = tuple(structure.entries.values())
        self.users = tensor_users(backbone)
        self.keys = [projection_key(seed, index) for index in range(len(self.users))]
        start = torch.zeros(adapters, intrinsic_dim)
        start[:, intrinsic_dim - len(self.users) :] = 1
        self.vector = nn.Parameter(start)

    def kind(self, tensor: str) -> ParameterKind:
        """All of it is the adapter."""
        return "adapter"

    def generate(self, rows: AdapterIndex) -> MovedTensors:
        """The first adapter's tensors, not yet made."""
        theta, scales = self.vector[0].tensor_split([-len(self.users)])
        return MovedTensors((scales[:, None] * theta).unbind(0), self.users, self.keys)

    def install(self, backbone: nn.Module, generated: Callable[[], MovedTensors]) -> list[Handle]:
        """Hooks around every module that has parameters of its own.

        A stack's tables of embeddings are also moved while the module around them runs, which may read them as they
        are (DeBERTa does).
        """
        entries = [backbone.get_submodule(path) for path in self.entries]
        around = {child: module for entry in entries for module in entry.modules() for child in module.children()}
        handles: list[Handle] = []
        for index, users in enumerate(self.users):
            for module, attribute in users:
                handles += shadow(module, attribute, generated, index)
                if isinstance(module, nn.Embedding) and module in around:
                    handles += shadow(module, attribute, generated, index, during=around[module])
        return handles


@dataclass(frozen=True, kw_only=True)
class IntrinsicSAID(Method):
    """Structure-aware intrinsic dimension: θᵢ = θᵢ⁰ + λᵢ·Pᵢ θ for every tensor i (arXiv:2012.13255v1, §3).

    As Compacter compares with it (arXiv:2106.04647v2, §4.2): embeddings and norms move too, a tied tensor once.
    """

    learning_rate: ClassVar[float] = 3e-2

    intrinsic_dim: int = 20_000
    """Trained numbers d': θ, and a λ for each of the backbone's tensors."""
    seed: int = 0
    """Of the random projections, which are made anew wherever they are needed."""

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if no number is left for θ, or the backbone is quantised."""
        check_writable(self, structure)
        if self.intrinsic_dim <= structure.tensors:
            raise InputError(
                f"IntrinsicSAID(intrinsic_dim={self.intrinsic_dim}): the backbone has {structure.tensors} tensors, "
                f"each of which takes a number as its scale. Use {structure.tensors + 1} or more; 20000 is the paper's."
            )

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """One part: the subspace."""
        return {"subspace": Subspace(backbone, structure, self.intrinsic_dim, self.seed)}


PRESETS: dict[str, Method] = {"intrinsic-said": IntrinsicSAID()}
