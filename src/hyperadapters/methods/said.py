"""Intrinsic-SAID: training the whole backbone inside a random subspace of a few thousand dimensions.

Aghajanyan et al., arXiv:2012.13255v1, §3; compared with in Compacter, arXiv:2106.04647v2, §4.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import BackboneKind, ModelStructure, module_at, tensor_users
from hyperadapters.delta import Handle, Method, ParameterKind, Part, Place, Vocabulary, check_writable, shadow
from hyperadapters.layers import AdapterIndex, fastfood_multiply, projection_key


class _MovedTensors:
    """The backbone's tensors for one pass, θᵢ⁰ + Pᵢ(λᵢ θ), each computed when it is first used.

    The backward pass runs the nodes that were made last first. A tensor that is computed this late has its node right
    before the operation that uses it: its gradient is projected, and the memory freed, before the gradients of the
    layer below are computed.

    Args:
        steps: λᵢ θ for each tensor i.
        users: for each tensor, the modules that hold it and its attribute there.
        keys: the key of each tensor's projection.
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


class _Subspace(Part):
    """The trained vector of Intrinsic-SAID: θ, then a λ for each of the backbone's tensors.

    θ starts at 0 and λ at 1. The projections are not stored: they are computed from `seed` (`layers/fastfood.py`).

    Args:
        backbone: the model.
        structure: of the backbone.
        intrinsic_dim: length of the vector.
        seed: of the projections.
        adapters: length of the adapter axis.
    """

    def __init__(
        self, backbone: nn.Module, structure: ModelStructure, intrinsic_dim: int, seed: int, adapters: int = 1
    ) -> None:
        super().__init__()
        self.entries = tuple(structure.entries.values())
        self.users = tensor_users(backbone)
        self._vocabulary = Vocabulary(backbone)
        self.keys = [projection_key(seed, index) for index in range(len(self.users))]
        start = torch.zeros(adapters, intrinsic_dim)
        start[:, intrinsic_dim - len(self.users) :] = 1
        self.vector = nn.Parameter(start)

    def kind(self, tensor: str) -> ParameterKind:
        """Return "adapter" for the vector."""
        return "adapter"

    def generate(self, rows: AdapterIndex) -> _MovedTensors:
        """Return the backbone's moved tensors, which are computed when they are first used.

        Raises:
            InputError: the vocabulary was resized: a projection depends on the shape of its tensor.
        """
        self._vocabulary.check()
        theta, scales = self.vector[0].tensor_split([-len(self.users)])
        return _MovedTensors((scales[:, None] * theta).unbind(0), self.users, self.keys)

    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Shadow the parameters of every module.

        Embedding tables are also shadowed while the module around them runs, because it may read the table without
        calling the embedding (DeBERTa does).
        """
        entries = [module_at(backbone, path) for path in self.entries]
        around = {child: module for entry in entries for module in entry.modules() for child in module.children()}
        handles: list[Handle] = []
        for index, users in enumerate(self.users):
            for module, attribute in users:
                handles += shadow(module, attribute, place(index))
                if isinstance(module, nn.Embedding) and module in around:
                    handles += shadow(module, attribute, place(index), during=around[module])
        return handles


@dataclass(frozen=True, kw_only=True)
class IntrinsicSAID(Method):
    """Structure-aware intrinsic dimension: θᵢ = θᵢ⁰ + λᵢ·Pᵢ θ for every tensor i (arXiv:2012.13255v1, §3).

    As in Compacter's comparison (arXiv:2106.04647v2, §4.2), embeddings and norms change too, and a tied tensor counts
    once. Pᵢ is a Fastfood projection.
    """

    learning_rate: ClassVar[float] = 3e-2
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 2e-3}
    large_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 1e-3}
    """On a small encoder 1e-3 and 3e-3 learn, 1e-2 does not (`results/raced-rates.json`); no wide one was searched."""

    intrinsic_dim: int = 20_000
    """The number d' of trained parameters: θ, and a λ for each of the backbone's tensors."""
    seed: int = 0
    """Seed of the random projections, which are computed whenever they are needed."""

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if no parameter is left for θ, or the backbone is quantised or offloaded."""
        check_writable(self, structure)
        if self.intrinsic_dim <= structure.tensors:
            raise InputError(
                f"IntrinsicSAID(intrinsic_dim={self.intrinsic_dim}): the backbone has {structure.tensors} tensors, "
                f"each of which takes one parameter as its scale λ. Use {structure.tensors + 1} or more; the paper "
                "uses 20000."
            )

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build the one part, the vector in the subspace."""
        return {"subspace": _Subspace(backbone, structure, self.intrinsic_dim, self.seed)}


PRESETS: dict[str, Method] = {"intrinsic-said": IntrinsicSAID()}
