"""Hypernetworks that generate adapter weights from task embeddings (HyperFormer, arXiv:2106.04489v1, §2)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hyperadapters.layers.matrices import normal

PROJECTED = 64
"""Width of the embedding that generators take as input (HyperFormer, §2.2 and published code)."""

_HIDDEN = 128
"""Width of the projector's hidden layer."""


class Written(NamedTuple):
    """One tensor that a hypernetwork generates for every site."""

    shape: tuple[int, ...]
    std: float
    """Standard deviation of the generator's weights at initialisation; its biases start at zero."""


class _Generator(nn.Module):
    """Linear maps from an embedding to all tensors of a site.

    Args:
        maps: one per site, or 1 for a map that all sites share.
        width: of the embedding.
        written: the tensors, by name.
    """

    def __init__(self, maps: int, width: int, written: Mapping[str, Written]) -> None:
        super().__init__()
        self.written = dict(written)
        self.sizes = [math.prod(tensor.shape) for tensor in written.values()]
        drawn = [normal(maps, width, s, std=t.std) for s, t in zip(self.sizes, written.values(), strict=True)]
        self.weight = nn.Parameter(torch.cat([tensor.detach() for tensor in drawn], dim=-1))
        self.bias = nn.Parameter(torch.zeros(maps, 1, sum(self.sizes)))

    def forward(self, embedding: Float[Tensor, "*sites width"]) -> dict[str, Tensor]:
        """Return every tensor by name, (present, sites, *its shape), all from one matrix product.

        `matmul` would choose its kernel, and so round, by whether the weights train; a frozen copy answers the same.
        """
        if len(self.weight) == 1:
            flat = F.linear(embedding.contiguous(), self.weight[0].mT, self.bias[0, 0])
        else:
            flat = torch.baddbmm(self.bias, embedding.transpose(0, 1).expand(len(self.weight), -1, -1), self.weight)
            flat = flat.transpose(0, 1)
        pieces = torch.split(flat, self.sizes, dim=-1)
        return {
            name: piece.reshape(*piece.shape[:-1], *tensor.shape)
            for (name, tensor), piece in zip(self.written.items(), pieces, strict=True)
        }


def _projector(width: int, std: float | None) -> nn.Sequential:
    """Return the module that computes W₂ ReLU(W₁ z + b₁) + b₂ (HyperFormer, §2.2).

    Args:
        width: of z.
        std: standard deviation of the weights at initialisation, with biases zero; None: as `nn.Linear` draws both.
    """
    layers = [nn.Linear(width, _HIDDEN), nn.Linear(_HIDDEN, PROJECTED)]
    if std is not None:
        for layer in layers:
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1])


class SiteGenerators(nn.Module):
    """The hypernetwork of HyperFormer (§2.2): one projector for all sites, and a generator for each.

    Args:
        task_width: width of a task embedding.
        sites: number of sites.
        written: the tensors to generate for each site, by name.
        project: pass task embeddings through a projector; otherwise the generators read them directly.
        projector_std: standard deviation of the projector's weights at initialisation; None: that of `nn.Linear`.
    """

    def __init__(
        self,
        task_width: int,
        sites: int,
        written: Mapping[str, Written],
        *,
        project: bool,
        projector_std: float | None = None,
    ) -> None:
        super().__init__()
        self.projector = _projector(task_width, projector_std) if project else nn.Identity()
        self.generator = _Generator(sites, PROJECTED if project else task_width, written)

    def forward(self, tasks: Float[Tensor, "present width"]) -> dict[str, Tensor]:
        """Return every tensor by name, (present, sites, *its shape), for these task embeddings."""
        written: dict[str, Tensor] = self.generator(self.projector(tasks).unsqueeze(1))
        return written


class SharedGenerator(nn.Module):
    """The hypernetwork of HyperFormer++ (§2.3): one generator for all sites of a stack.

    It distinguishes the sites by trained embeddings of their layer and position.

    Args:
        task_width: width of a task embedding.
        layers: the number of every site's layer, from 0.
        positions: the number of every site's position, from 0.
        written: the tensors to generate for each site, by name.
        project: pass the joined embeddings through a projector and a layer norm; otherwise the generator reads them
            directly.
        projector_std: standard deviation of the projector's weights at initialisation; None: that of `nn.Linear`.
    """

    def __init__(
        self,
        task_width: int,
        layers: list[int],
        positions: list[int],
        written: Mapping[str, Written],
        *,
        project: bool,
        projector_std: float | None = None,
    ) -> None:
        super().__init__()
        self.layers, self.positions = layers, positions
        self.layer = normal(max(layers) + 1, PROJECTED, std=1.0)
        self.position = normal(max(positions) + 1, PROJECTED, std=1.0)
        width = task_width + 2 * PROJECTED
        parts = (_projector(width, projector_std), nn.LayerNorm(PROJECTED, eps=1e-6)) if project else ()
        self.projector = nn.Sequential(*parts)
        self.generator = _Generator(1, PROJECTED if project else width, written)

    def forward(self, tasks: Float[Tensor, "present width"]) -> dict[str, Tensor]:
        """Return every tensor by name, (present, sites, *its shape), for these task embeddings."""
        places = torch.cat([self.layer[self.layers], self.position[self.positions]], dim=-1)
        present, sites = len(tasks), len(places)
        joined = torch.cat([tasks.unsqueeze(1).expand(-1, sites, -1), places.expand(present, -1, -1)], dim=-1)
        written: dict[str, Tensor] = self.generator(self.projector(joined))
        return written
