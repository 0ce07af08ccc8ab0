"""How the projections of adapters are parametrised: dense, low-rank, PHM, low-rank PHM.

Each class holds the trained tensors for all sites of all adapters at once. It computes their down-projections,
(adapters, sites, d_model, bottleneck), and up-projections, (adapters, sites, bottleneck, d_model), in one contraction.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters.layers.adapter_index import Present, selected
from hyperadapters.layers.bottleneck import Factors
from hyperadapters.layers.kronecker import _factors_down, _factors_up, kron_sum, low_rank_kron_sum

Matrices = tuple[Float[Tensor, "adapters sites d_model bottleneck"], Float[Tensor, "adapters ups bottleneck d_model"]]
"""The down- and the up-projections of all sites; a ladder has a single up-projection."""


def normal(*shape: int, std: float) -> nn.Parameter:
    """Draw a parameter of this shape from N(0, std²).

    Args:
        shape: of the parameter.
        std: the standard deviation σ.
    """
    return nn.Parameter(torch.randn(shape) * std)


def _glorot(*shape: int, gain: float = math.sqrt(2)) -> nn.Parameter:
    """Draw a parameter from Glorot's uniform distribution; the last two axes of its shape are those of each matrix."""
    bound = gain * math.sqrt(6 / (shape[-2] + shape[-1]))
    return nn.Parameter(torch.rand(shape) * (2 * bound) - bound)


class AdapterMatrices(nn.Module, ABC):
    """The trained tensors from which the projections of all sites are computed: a parametrisation of adapters.

    A `SiteMethod` builds one in `matrices`. Its tensors have the axis of adapters first, so that several adapters are
    computed together.
    """

    @abstractmethod
    def forward(self, present: Present = None) -> Matrices:
        """Compute the projections of all sites.

        Args:
            present: numbers of the adapters to compute them for; None: all.

        Returns:
            Down-projections, (present, sites, d_model, bottleneck), and up-projections, (present, sites, bottleneck,
            d_model).
        """

    def factors(self, present: Present = None) -> tuple[Factors, Factors]:
        """Compute the projections as products of factors, to be applied one after the other.

        This is cheaper than `forward` for a batch whose rows use different adapters, if the factors are small.

        Args:
            present: as for `forward`.

        Returns:
            The factors of the down- and of the up-projections; a factor smaller than its input is applied
            block-diagonally. By default each projection is a single factor.
        """
        down, up = self(present)
        return (down,), (up,)


class Dense(AdapterMatrices):
    """Unconstrained matrices, drawn from N(0, 0.01²) (Compacter, arXiv:2106.04647v2, published code).

    Or from N(0, 0.001²) without what is beyond two standard deviations (Houlsby et al., arXiv:1902.00751v2, published
    code).

    Args:
        adapters: number of adapters, the length of the adapter axis.
        sites: number of sites.
        d_model: width of the backbone.
        bottleneck: width of the adapters.
        truncated: draw from the second of the two.
        ups: number of up-projections; None: one for each site.
    """

    def __init__(
        self,
        adapters: int,
        sites: int,
        d_model: int,
        bottleneck: int,
        *,
        truncated: bool = False,
        ups: int | None = None,
    ) -> None:
        super().__init__()
        self.down = normal(adapters, sites, d_model, bottleneck, std=0.01)
        self.up = normal(adapters, ups or sites, bottleneck, d_model, std=0.01)
        if truncated:
            for matrix in (self.down, self.up):
                nn.init.trunc_normal_(matrix, std=1e-3, a=-2e-3, b=2e-3)

    def forward(self, present: Present = None) -> Matrices:
        return selected(self.down, present), selected(self.up, present)


class LowRank(AdapterMatrices):
    """W = L·R of rank `rank`, with Glorot-uniform factors of gain √2 (Adapter-LowRank; Compacter, §4.2).

    Args:
        adapters: number of adapters, the length of the adapter axis.
        sites: number of sites.
        d_model: width of the backbone.
        bottleneck: width of the adapters.
        rank: columns of L and rows of R.
        ups: number of up-projections; None: one for each site.
    """

    def __init__(
        self, adapters: int, sites: int, d_model: int, bottleneck: int, rank: int, *, ups: int | None = None
    ) -> None:
        super().__init__()
        self.down_left = _glorot(adapters, sites, d_model, rank)
        self.down_right = _glorot(adapters, sites, rank, bottleneck)
        self.up_left = _glorot(adapters, ups or sites, bottleneck, rank)
        self.up_right = _glorot(adapters, ups or sites, rank, d_model)

    def forward(self, present: Present = None) -> Matrices:
        down = selected(self.down_left, present) @ selected(self.down_right, present)
        return down, selected(self.up_left, present) @ selected(self.up_right, present)

    def factors(self, present: Present = None) -> tuple[Factors, Factors]:
        down = selected(self.down_left, present), selected(self.down_right, present)
        return down, (selected(self.up_left, present), selected(self.up_right, present))


class PHM(AdapterMatrices):
    """W = Σᵢ Aᵢ ⊗ Bᵢ, each projection with its own A ~ N(0, 0.01²) (PHM-Adapter; Compacter, §4.2).

    B is Glorot-uniform with gain √2.

    Args:
        adapters: number of adapters, the length of the adapter axis.
        sites: number of sites.
        d_model: width of the backbone, a multiple of n.
        bottleneck: width of the adapters, a multiple of n.
        n: number of Kronecker products in each sum.
        ups: number of up-projections; None: one for each site.
    """

    def __init__(
        self, adapters: int, sites: int, d_model: int, bottleneck: int, n: int, *, ups: int | None = None
    ) -> None:
        super().__init__()
        self.down_slow = normal(adapters, sites, n, n, n, std=0.01)
        self.up_slow = normal(adapters, ups or sites, n, n, n, std=0.01)
        self.down_fast = _glorot(adapters, sites, n, d_model // n, bottleneck // n)
        self.up_fast = _glorot(adapters, ups or sites, n, bottleneck // n, d_model // n)

    def forward(self, present: Present = None) -> Matrices:
        down = kron_sum(selected(self.down_slow, present), selected(self.down_fast, present))
        return down, kron_sum(selected(self.up_slow, present), selected(self.up_fast, present))


class LowRankPHM(AdapterMatrices):
    """W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢ): slow weights A and fast weights s, t of rank `rank` (LPHM; Compacter, §3).

    s and t are Glorot-uniform with gain √2. The matrices of all sites come from one contraction per projection.

    Args:
        adapters: number of adapters, the length of the adapter axis.
        sites: number of sites.
        d_model: width of the backbone, a multiple of n.
        bottleneck: width of the adapters, a multiple of n.
        n: number of Kronecker products in each sum.
        rank: of sᵢ·tᵢ.
        shared: use one A for every site and both projections; otherwise each projection has its own, as in a
            PHM-Adapter.
        factorized: make each Aᵢ the product of a column and a row.
        trained: train A; otherwise it keeps its initial values.
        ups: number of up-projections; None: one for each site.
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
        ups: int | None = None,
    ) -> None:
        super().__init__()
        slow = _FactorizedSlow if factorized else _Slow
        if shared:
            self.slow = slow(adapters, 1, n, shared=True, trained=trained)
        else:
            self.down_slow = slow(adapters, sites, n, shared=False, trained=trained)
            self.up_slow = slow(adapters, ups or sites, n, shared=False, trained=trained)
        self.shared = shared
        self.down_left = _glorot(adapters, sites, n, d_model // n, rank)
        self.down_right = _glorot(adapters, sites, n, rank, bottleneck // n)
        self.up_left = _glorot(adapters, ups or sites, n, bottleneck // n, rank)
        self.up_right = _glorot(adapters, ups or sites, n, rank, d_model // n)

    def parts(self, present: Present) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (A, s, t) of the down-projections, then of the up-projections."""
        down, up = (self.slow,) * 2 if self.shared else (self.down_slow, self.up_slow)
        yield down(present), selected(self.down_left, present), selected(self.down_right, present)
        yield up(present), selected(self.up_left, present), selected(self.up_right, present)

    def forward(self, present: Present = None) -> Matrices:
        down, up = self.parts(present)
        return low_rank_kron_sum(*down), low_rank_kron_sum(*up)

    def factors(self, present: Present = None) -> tuple[Factors, Factors]:
        down, up = self.parts(present)
        return _factors_down(*down), _factors_up(*up)


def _hold(module: nn.Module, name: str, parameter: nn.Parameter, *, trained: bool) -> None:
    """Register a tensor as a parameter of the module, or as a buffer, which is saved too but not trained."""
    if trained:
        module.register_parameter(name, parameter)
    else:
        module.register_buffer(name, parameter.detach())


class _Slow(nn.Module):
    """The slow weights: A ~ N(0, (1e-4)²) if all sites share them, else N(0, 0.01²) (Compacter, published code)."""

    weight: Tensor

    def __init__(self, adapters: int, sites: int, n: int, *, shared: bool, trained: bool) -> None:
        super().__init__()
        _hold(self, "weight", normal(adapters, sites, n, n, n, std=1e-4 if shared else 1e-2), trained=trained)

    def forward(self, present: Present = None) -> Float[Tensor, "adapters sites n n n"]:
        return selected(self.weight, present)


class _FactorizedSlow(nn.Module):
    """Slow weights of rank one, Aᵢ = lᵢ·rᵢ.

    Each factor is drawn from N(0, 0.01²), as in the published code where sites do not share A. There, factors of a
    shared A are drawn from N(0, (1e-4)²), which makes A as small as 1e-8; here A has the deviation of a shared one
    without factors.
    """

    left: Tensor
    right: Tensor

    def __init__(self, adapters: int, sites: int, n: int, *, shared: bool, trained: bool) -> None:
        super().__init__()
        _hold(self, "left", normal(adapters, sites, n, n, 1, std=1e-2), trained=trained)
        _hold(self, "right", normal(adapters, sites, n, 1, n, std=1e-2), trained=trained)

    def forward(self, present: Present = None) -> Float[Tensor, "adapters sites n n n"]:
        return selected(self.left, present) @ selected(self.right, present)
