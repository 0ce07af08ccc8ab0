"""How the matrices of adapters are made: the *weights* axis.

Each class holds what is trained for all sites of all adapters at once and yields their matrices,
(adapters, sites, d_model, bottleneck) down and (adapters, sites, bottleneck, d_model) up, in one contraction.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters.layers.adapter_index import Present, selected
from hyperadapters.layers.bottleneck import Factors
from hyperadapters.layers.kronecker import factors_down, factors_up, kron_sum, low_rank_kron_sum

Matrices = tuple[Float[Tensor, "adapters sites d_model bottleneck"], Float[Tensor, "adapters sites bottleneck d_model"]]


def normal(*shape: int, std: float) -> nn.Parameter:
    """A parameter drawn from N(0, std²)."""
    return nn.Parameter(torch.randn(shape) * std)


def glorot(*shape: int, gain: float = math.sqrt(2)) -> nn.Parameter:
    """A parameter drawn from Glorot's uniform distribution, the last two axes being those of each matrix."""
    bound = gain * math.sqrt(6 / (shape[-2] + shape[-1]))
    return nn.Parameter(torch.rand(shape) * (2 * bound) - bound)


class AdapterMatrices(nn.Module, ABC):
    """What all sites' down- and up-projections are made from."""

    @abstractmethod
    def forward(self, present: Present = None) -> Matrices:
        """The down- and up-projections of all sites of the adapters that are present."""

    def factors(self, present: Present = None) -> tuple[Factors, Factors]:
        """The same as products of factors, for a batch in which every row has its own: what is small stays small."""
        down, up = self(present)
        return (down,), (up,)


class Dense(AdapterMatrices):
    """Every matrix is its own, drawn from N(0, 0.01²) (Compacter, arXiv:2106.04647v2, published code)."""

    def __init__(self, adapters: int, sites: int, d_model: int, bottleneck: int) -> None:
        super().__init__()
        self.down = normal(adapters, sites, d_model, bottleneck, std=0.01)
        self.up = normal(adapters, sites, bottleneck, d_model, std=0.01)

    def forward(self, present: Present = None) -> Matrices:
        return selected(self.down, present), selected(self.up, present)


class LowRank(AdapterMatrices):
    """Every matrix is a product L·R of rank `rank`; Glorot-uniform factors, gain √2 (Compacter, §4.2)."""

    def __init__(self, adapters: int, sites: int, d_model: int, bottleneck: int, rank: int) -> None:
        super().__init__()
        self.down_left = glorot(adapters, sites, d_model, rank)
        self.down_right = glorot(adapters, sites, rank, bottleneck)
        self.up_left = glorot(adapters, sites, bottleneck, rank)
        self.up_right = glorot(adapters, sites, rank, d_model)

    def forward(self, present: Present = None) -> Matrices:
        down = selected(self.down_left, present) @ selected(self.down_right, present)
        return down, selected(self.up_left, present) @ selected(self.up_right, present)

    def factors(self, present: Present = None) -> tuple[Factors, Factors]:
        down = selected(self.down_left, present), selected(self.down_right, present)
        return down, (selected(self.up_left, present), selected(self.up_right, present))


class PHM(AdapterMatrices):
    """W = Σᵢ Aᵢ ⊗ Bᵢ, each projection with its own A ~ N(0, 0.01²) (PHM-Adapter; Compacter, §4.2)."""

    def __init__(self, adapters: int, sites: int, d_model: int, bottleneck: int, n: int) -> None:
        super().__init__()
        self.down_slow = normal(adapters, sites, n, n, n, std=0.01)
        self.up_slow = normal(adapters, sites, n, n, n, std=0.01)
        self.down_fast = glorot(adapters, sites, n, d_model // n, bottleneck // n)
        self.up_fast = glorot(adapters, sites, n, bottleneck // n, d_model // n)

    def forward(self, present: Present = None) -> Matrices:
        down = kron_sum(selected(self.down_slow, present), selected(self.down_fast, present))
        return down, kron_sum(selected(self.up_slow, present), selected(self.up_fast, present))


class LowRankPHM(AdapterMatrices):
    """W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢ): slow weights A and rank-`rank` fast weights s, t (LPHM; Compacter, §3).

    With `shared` one A serves every site and both projections. Without it each projection has its own, as in a
    PHM-Adapter. All sites' matrices of one projection come from one contraction.
    """

    def __init__(
        self,
        adapters: int,
        sites: int,
        d_model: int,
        bottleneck: int,
        n: int,
        rank: int,
        *,
        shared: bool,
        factorized: bool,
        trained: bool,
    ) -> None:
        super().__init__()
        slow = FactorizedSlow if factorized else Slow
        if shared:
            self.slow = slow(adapters, 1, n, trained=trained)
        else:
            self.down_slow = slow(adapters, sites, n, trained=trained)
            self.up_slow = slow(adapters, sites, n, trained=trained)
        self.shared = shared
        self.down_left = glorot(adapters, sites, n, d_model // n, rank)
        self.down_right = glorot(adapters, sites, n, rank, bottleneck // n)
        self.up_left = glorot(adapters, sites, n, bottleneck // n, rank)
        self.up_right = glorot(adapters, sites, n, rank, d_model // n)

    def parts(self, present: Present) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """A, s and t of the down-projections, then of the up-projections."""
        down, up = (self.slow,) * 2 if self.shared else (self.down_slow, self.up_slow)
        yield down(present), selected(self.down_left, present), selected(self.down_right, present)
        yield up(present), selected(self.up_left, present), selected(self.up_right, present)

    def forward(self, present: Present = None) -> Matrices:
        down, up = self.parts(present)
        return low_rank_kron_sum(*down), low_rank_kron_sum(*up)

    def factors(self, present: Present = None) -> tuple[Factors, Factors]:
        down, up = self.parts(present)
        return factors_down(*down), factors_up(*up)


def hold(module: nn.Module, name: str, parameter: nn.Parameter, *, trained: bool) -> None:
    """Keep a parameter, or the same numbers as a buffer: saved with the rest, never trained."""
    if trained:
        module.register_parameter(name, parameter)
    else:
        module.register_buffer(name, parameter.detach())


class Slow(nn.Module):
    """The slow weights A ~ N(0, (1e-4)²) (Compacter, §4.1 and published code)."""

    weight: Tensor

    def __init__(self, adapters: int, sites: int, n: int, *, trained: bool) -> None:
        super().__init__()
        hold(self, "weight", normal(adapters, sites, n, n, n, std=1e-4), trained=trained)

    def forward(self, present: Present = None) -> Float[Tensor, "adapters sites n n n"]:
        return selected(self.weight, present)


class FactorizedSlow(nn.Module):
    """Slow weights of rank one, Aᵢ = lᵢ·rᵢ, each factor N(0, (1e-2)²) so that A has the spread of `Slow`."""

    left: Tensor
    right: Tensor

    def __init__(self, adapters: int, sites: int, n: int, *, trained: bool) -> None:
        super().__init__()
        hold(self, "left", normal(adapters, sites, n, n, 1, std=1e-2), trained=trained)
        hold(self, "right", normal(adapters, sites, n, 1, n, std=1e-2), trained=trained)

    def forward(self, present: Present = None) -> Float[Tensor, "adapters sites n n n"]:
        return selected(self.left, present) @ selected(self.right, present)
