"""Hypernetworks that write the weights of adapters from task embeddings (HyperFormer, arXiv:2106.04489v1, §2)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters.layers.matrices import normal

PROJECTED = 64
"""Width of the embedding that generators read (HyperFormer, §2.2 and published code)."""

HIDDEN = 128
"""Width inside the projector."""


class Written(NamedTuple):
    """One tensor that a hypernetwork writes for every site."""

    shape: tuple[int, ...]
    std: float
    """Spread of the generator's weights at initialisation; its biases start at zero."""


class Generator(nn.Module):
    """Linear maps from an embedding to all tensors of a site: one map for every site, or one that all sites share."""

    def __init__(self, maps: int, width: int, written: Mapping[str, Written]) -> None:
        super().__init__()
        self.written = dict(written)
        self.sizes = [math.prod(tensor.shape) for tensor in written.values()]
        drawn = [normal(maps, width, s, std=t.std) for s, t in zip(self.sizes, written.values(), strict=True)]
        self.weight = nn.Parameter(torch.cat([tensor.detach() for tensor in drawn], dim=-1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, sum(self.sizes)))

    def forward(self, embedding: Float[Tensor, "*sites width"]) -> dict[str, Tensor]:
        """Every tensor by name, (present, sites, *its shape), from one product."""
        flat = (embedding.transpose(0, 1) @ self.weight + self.bias).transpose(0, 1)
        pieces = torch.split(flat, self.sizes, dim=-1)
        return {
            name: piece.reshape(*piece.shape[:-1], *tensor.shape)
            for (name, tensor), piece in zip(self.written.items(), pieces, strict=True)
        }


def projector(width: int, outputs: int = PROJECTED) -> nn.Sequential:
    """W₂ ReLU(W₁ z + b₁) + b₂ (HyperFormer, §2.2)."""
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))


class SiteGenerators(nn.Module):
    """HyperFormer (§2.2): one projector for all, and at every site generators of its own."""

    def __init__(self, task_width: int, sites: int, written: Mapping[str, Written], *, project: bool) -> None:
        super().__init__()
        self.projector = projector(task_width) if project else nn.Identity()
        self.generator = Generator(sites, PROJECTED if project else task_width, written)

    def forward(self, tasks: Float[Tensor, "present width"]) -> dict[str, Tensor]:
        """Every tensor of every site by name, for the tasks that are present."""
        written: dict[str, Tensor] = self.generator(self.projector(tasks).unsqueeze(1))
        return written


class SharedGenerator(nn.Module):
    """HyperFormer++ (§2.3): one generator for all sites of a stack, told apart by layer and position embeddings."""

    def __init__(
        self,
        task_width: int,
        layers: list[int],
        positions: list[int],
        written: Mapping[str, Written],
        *,
        project: bool,
    ) -> None:
        """`layers` and `positions` number the layer and the position of every site, from 0."""
        super().__init__()
        self.layers, self.positions = layers, positions
        self.layer = normal(max(layers) + 1, PROJECTED, std=1.0)
        self.position = normal(max(positions) + 1, PROJECTED, std=1.0)
        width = task_width + 2 * PROJECTED
        parts = (projector(width), nn.LayerNorm(PROJECTED, eps=1e-6)) if project else ()
        self.projector = nn.Sequential(*parts)
        self.generator = Generator(1, PROJECTED if project else width, written)

    def forward(self, tasks: Float[Tensor, "present width"]) -> dict[str, Tensor]:
        """Every tensor of every site by name, for the tasks that are present."""
        places = torch.cat([self.layer[self.layers], self.position[self.positions]], dim=-1)
        present, sites = len(tasks), len(places)
        joined = torch.cat([tasks.unsqueeze(1).expand(-1, sites, -1), places.expand(present, -1, -1)], dim=-1)
        written: dict[str, Tensor] = self.generator(self.projector(joined))
        return written
