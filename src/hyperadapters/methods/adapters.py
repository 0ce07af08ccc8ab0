"""Bottleneck adapters: those of Houlsby et al. (arXiv:1902.00751v2) and of Compacter (arXiv:2106.04647v2).

They differ in two choices: the sites at which adapters sit, and the parametrisation of their projections.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import (
    BackboneKind,
    ModelStructure,
    NormChoice,
    Placement,
    Position,
    Site,
    Stack,
    norms_above,
    residual_of,
)
from hyperadapters.delta import Method, Part, SiteAdapters, owned_norms
from hyperadapters.layers import PHM, Activation, AdapterMatrices, Dense, LowRank, LowRankPHM
from hyperadapters.methods.output_layer import _check_output_layer, _output_layer


@dataclass(frozen=True, kw_only=True)
class _AtSites(Method):
    """Adapters at some of the backbone's sites: the fields and checks that all adapter methods share."""

    many_tasks: ClassVar[bool] = True

    bottleneck: int = 24
    """Width d of the adapters."""
    positions: tuple[Position, ...] = ("attention", "feed_forward")
    """The sub-layers after which adapters sit: self-attention, feed-forward, or both. Never cross-attention."""
    stacks: tuple[Stack, ...] = ("encoder", "decoder")
    """The stacks that get adapters."""
    first_layer: int = 0
    """The lowest layer of each stack that gets adapters, from 0 (AdapterDrop: 5). The top layer always does."""
    activation: Activation = "gelu_new"
    """The non-linearity between the projections; `identity`: none, so that `Delta.merge` can merge the adapters."""
    norms: NormChoice = True
    """Train every layer norm of the backbone, including those of layers without adapters (true), those of the lowest
    layer with adapters and above (`above`), or none (false). With `above`, no gradient enters the layers below."""

    def sites(self, structure: ModelStructure) -> tuple[Site, ...]:
        """Return the sites that get an adapter, in the backbone's order.

        Args:
            structure: of the backbone.
        """
        top = {stack: max(site.layer for site in structure.sites if site.stack == stack) for stack in structure.stacks}
        return tuple(
            site
            for site in structure.sites
            if site.position in self.positions
            and site.stack in self.stacks
            and site.layer >= min(self.first_layer, top[site.stack])
        )

    def norm_parts(self, backbone: nn.Module, structure: ModelStructure, adapters: int = 1) -> dict[str, Part]:
        """Return the part with the norms that train, by name; none if none do.

        Args:
            backbone: the model to adapt.
            structure: of the backbone.
            adapters: length of the adapter axis; 1: all tasks share the norms.
        """
        if not self.norms:
            return {}
        sites = self.sites(structure)
        paths = structure.norms if self.norms is True else norms_above(backbone, structure, sites)
        return {"norms": owned_norms(backbone, paths, adapters)}

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if a width or layer is out of range, or no site would get an adapter."""
        name = type(self).__name__
        if self.bottleneck < 1:
            raise InputError(f"{name}(bottleneck={self.bottleneck}): the bottleneck is a width, 1 or more.")
        if self.first_layer < 0:
            raise InputError(f"{name}(first_layer={self.first_layer}): layers count from 0. Use 0 or more.")
        if not self.sites(structure):
            raise InputError(
                f"{name}(positions={self.positions}, stacks={self.stacks}) leaves no site for an adapter. Name at "
                f"least one position (attention, feed_forward) and one stack ({', '.join(structure.stacks)})."
            )


@dataclass(frozen=True, kw_only=True)
class SiteMethod(_AtSites):
    """Adapters whose weights are trained directly, with a set of them for every task.

    A subclass chooses the parametrisation of the projections in `matrices`; everything else is done here.
    """

    output_layer: bool = False
    """Train the output layer too (Compacter, Table 7). If it is tied to the embeddings, they train with it."""
    placement: Placement = "in_line"
    """What the adapters read: the sub-layer's output y, as in the papers (`in_line`); the norm of y + x, or y + x where
    no norm follows, with x the residual stream, as AdapterHub's `seq_bn` (`after_sum`); or x, as in parallel adapters
    (He et al., arXiv:2110.04366). Their output is added to y."""
    scaling: float = 1.0
    """The adapters' output is multiplied by this (He et al.: 4)."""
    post_norm: bool = False
    """Put a layer norm after the up-projection, inside the skip: γ ⊙ norm(A(y)) + β + y (HyperFormer, §2.2)."""

    @property
    def separable(self) -> bool:
        """Whether tasks share no tensor: they do not, unless the output layer trains."""
        return not self.output_layer

    @abstractmethod
    def matrices(self, adapters: int, sites: int, d_model: int) -> AdapterMatrices:
        """Return the parametrisation of the projections, freshly initialised.

        Args:
            adapters: length of the adapter axis, one entry per task.
            sites: number of sites.
            d_model: width of the backbone.
        """

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError as for all adapters, and if an output layer is to train but there is none."""
        super().check(structure)
        if not (math.isfinite(self.scaling) and self.scaling != 0):
            raise InputError(f"{type(self).__name__}(scaling={self.scaling}): give a finite number other than 0.")
        if self.output_layer:
            _check_output_layer(self, structure)

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build the adapters and, if they train, the norms and the output layer; each task has its own norms.

        Raises:
            InputError: the output layer is to train for several tasks; or adapters are to read the residual stream,
                and where it can be read is not known for this family.
        """
        sites = self.sites(structure)
        for site in sites if self.placement != "in_line" else ():
            residual_of(backbone, site)
        matrices = self.matrices(tasks, len(sites), structure.d_model)
        widths = (structure.d_model, self.bottleneck)
        post_norms = tasks if self.post_norm else 0
        parts: dict[str, Part] = {
            "adapters": SiteAdapters(
                sites,
                matrices,
                *widths,
                self.activation,
                tasks,
                post_norms,
                placement=self.placement,
                scaling=self.scaling,
            )
        }
        parts |= self.norm_parts(backbone, structure, tasks)
        if self.output_layer:
            parts |= _output_layer(self, backbone, structure, tasks)
        return parts


def _check_rank(name: str, rank: int) -> None:
    """Raise InputError for a rank below 1."""
    if rank < 1:
        raise InputError(f"{name}(rank={rank}): a rank is 1 or more.")


def _check_divides(name: str, n: int, d_model: int, bottleneck: int) -> None:
    """Raise InputError, naming the common divisors, if n does not divide both d_model and the bottleneck."""
    if n < 1 or d_model % n or bottleneck % n:
        common = math.gcd(d_model, bottleneck)
        divisors = [k for k in range(1, common + 1) if common % k == 0]
        raise InputError(
            f"{name}(n={n}, bottleneck={bottleneck}) on d_model={d_model}: n must divide both widths. "
            f"Use n from {divisors}, or another bottleneck."
        )


@dataclass(frozen=True, kw_only=True)
class Adapter(SiteMethod):
    """Bottleneck adapters with unconstrained projections: A(y) + y with A(y) = U·g(D·y + b_D) + b_U.

    Houlsby et al., arXiv:1902.00751v2, §2.1; on T5 as in Compacter, arXiv:2106.04647v2, §4.2. With
    `positions=("attention",)` it is the Pfeiffer-Adapter of Compacter, with `first_layer=5` its AdapterDrop.
    """

    learning_rate: ClassVar[float] = 3e-4
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 2e-3, "encoder-decoder": 3e-3}

    init: Literal["normal", "truncated"] = "normal"
    """How the projections start. `normal`: N(0, 0.01²), as in Compacter's code; `truncated`: N(0, 0.001²) cut at two
    standard deviations, as in Houlsby et al.'s."""

    def matrices(self, adapters: int, sites: int, d_model: int) -> AdapterMatrices:
        """Return dense matrices."""
        return Dense(adapters, sites, d_model, self.bottleneck, truncated=self.init == "truncated")


@dataclass(frozen=True, kw_only=True)
class LowRankAdapter(SiteMethod):
    """Adapters whose projections have low rank: W = L·R (Adapter-LowRank; Compacter, arXiv:2106.04647v2, §4.2)."""

    learning_rate: ClassVar[float] = 3e-3
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 2e-3, "encoder-decoder": 3e-2}

    rank: int = 1
    """Rank of both projections."""

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError as for all adapters, and for a rank below 1."""
        super().check(structure)
        _check_rank(type(self).__name__, self.rank)

    def matrices(self, adapters: int, sites: int, d_model: int) -> AdapterMatrices:
        """Return low-rank matrices."""
        return LowRank(adapters, sites, d_model, self.bottleneck, self.rank)


@dataclass(frozen=True, kw_only=True)
class PHMAdapter(SiteMethod):
    """Adapters whose projections are PHM layers: W = Σᵢ Aᵢ ⊗ Bᵢ, each with its own A and full-rank B.

    PHM-Adapter of Compacter, arXiv:2106.04647v2, §4.2; the layer is of Zhang et al., arXiv:2102.08597v1, §3.
    """

    learning_rate: ClassVar[float] = 3e-3
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 2e-3, "encoder-decoder": 1e-2}

    n: int = 12
    """Number of Kronecker products in each sum; it must divide d_model and the bottleneck."""

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError as for all adapters, and if n does not divide both widths."""
        super().check(structure)
        _check_divides(type(self).__name__, self.n, structure.d_model, self.bottleneck)

    def matrices(self, adapters: int, sites: int, d_model: int) -> AdapterMatrices:
        """Return PHM matrices."""
        return PHM(adapters, sites, d_model, self.bottleneck, self.n)


@dataclass(frozen=True, kw_only=True)
class Compacter(SiteMethod):
    """Compacter: adapters with W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢ), where A is shared by the whole model (arXiv:2106.04647v2, §3).

    A are the slow weights, s and t the fast weights that each site has for itself. With `positions=("feed_forward",)`
    it is Compacter++.
    """

    learning_rate: ClassVar[float] = 3e-3
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 2e-3, "encoder-decoder": 3e-2}

    n: int = 4
    """Number of Kronecker products in each sum; it must divide d_model and the bottleneck."""
    rank: int = 1
    """Rank of sᵢ·tᵢ."""
    shared_slow: bool = True
    """Use one A for all sites and both projections; otherwise each projection has its own."""
    train_slow: bool = True
    """Train A; otherwise it keeps its initial values."""
    factorized_slow: bool = False
    """Make each Aᵢ the product of a column and a row (rank one)."""

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError as for all adapters, for a rank below 1, and if n does not divide both widths."""
        super().check(structure)
        _check_rank(type(self).__name__, self.rank)
        _check_divides(type(self).__name__, self.n, structure.d_model, self.bottleneck)

    def matrices(self, adapters: int, sites: int, d_model: int) -> AdapterMatrices:
        """Return low-rank PHM matrices."""
        return LowRankPHM(
            adapters,
            sites,
            d_model,
            self.bottleneck,
            self.n,
            self.rank,
            shared=self.shared_slow,
            factorized=self.factorized_slow,
            trained=self.train_slow,
        )


PRESETS: dict[str, Method] = {
    "houlsby": Adapter(),
    "pfeiffer": Adapter(positions=("attention",)),
    "adapterdrop": Adapter(first_layer=5),
    "lowrank": LowRankAdapter(),
    "phm": PHMAdapter(),
    "compacter": Compacter(),
    "compacter++": Compacter(positions=("feed_forward",)),
}
