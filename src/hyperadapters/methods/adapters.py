"""The adapters of Houlsby et al. and of Compacter: choices on two axes, *sites* and *weights*."""

from abc import abstractmethod
from dataclasses import dataclass
from math import gcd
from typing import ClassVar

from torch import nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import ModelStructure, Position, Site, Stack
from hyperadapters.delta import Method, OwnedTensors, Part, SiteAdapters, owned_norms
from hyperadapters.layers import PHM, Activation, AdapterMatrices, Dense, LowRank, LowRankPHM


@dataclass(frozen=True, kw_only=True)
class AtSites(Method):
    """Adapters at some of the backbone's sites: the *sites* axis, common to all adapters."""

    many_tasks: ClassVar[bool] = True

    bottleneck: int = 24
    """Width d of the adapter."""
    positions: tuple[Position, ...] = ("attention", "feed_forward")
    """After which sub-layers: self-attention, feed-forward, or both. Never after cross-attention."""
    stacks: tuple[Stack, ...] = ("encoder", "decoder")
    """In which stacks."""
    first_layer: int = 0
    """The lowest layer of each stack that holds adapters (AdapterDrop: 5). The top layer always does."""
    activation: Activation = "gelu_new"
    """Non-linearity between the projections."""
    norms: bool = True
    """Train every layer norm of the backbone too, also where there is no adapter."""

    def sites(self, structure: ModelStructure) -> tuple[Site, ...]:
        """The sites that get an adapter, in the backbone's order."""
        top = {stack: max(site.layer for site in structure.sites if site.stack == stack) for stack in structure.stacks}
        return tuple(
            site
            for site in structure.sites
            if site.position in self.positions
            and site.stack in self.stacks
            and site.layer >= min(self.first_layer, top[site.stack])
        )

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if there would be no adapter."""
        name = type(self).__name__
        if self.bottleneck < 1:
            raise InputError(f"{name}(bottleneck={self.bottleneck}): the bottleneck is a width, 1 or more.")
        if self.first_layer < 0:
            raise InputError(f"{name}(first_layer={self.first_layer}): layers count from 0.")
        if not self.sites(structure):
            raise InputError(
                f"{name}(positions={self.positions}, stacks={self.stacks}) leaves no site for an adapter. "
                "Name one position (attention, feed_forward) and one stack (encoder, decoder) at least."
            )


@dataclass(frozen=True, kw_only=True)
class SiteMethod(AtSites):
    """Adapters that own their weights, a set of them for every task."""

    output_layer: bool = False
    """Train the output layer too (Compacter, Table 7); where it is tied, the embeddings train with it."""
    post_norm: bool = False
    """A layer norm after the up-projection, inside the skip: γ ⊙ norm(A(y)) + β + y (HyperFormer, §2.2)."""

    @property
    def separable(self) -> bool:
        """Every task has all for itself but the output layer."""
        return not self.output_layer

    @abstractmethod
    def matrices(self, adapters: int, sites: int, d_model: int) -> AdapterMatrices:
        """How the projections are made: the *weights* axis."""

    def check(self, structure: ModelStructure) -> None:
        """The checks of the sites, and that there is an output layer if it shall train."""
        super().check(structure)
        if self.output_layer and not structure.output:
            raise InputError(
                f"{type(self).__name__}(output_layer=True): the backbone has no language-model output layer to train."
            )

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Adapters, and where asked for the norms and the output layer; every task has its own of each."""
        if self.output_layer and tasks > 1:
            raise InputError(
                f"{type(self).__name__}(output_layer=True) has one output layer, which {tasks} tasks in one Delta "
                "cannot each have for themselves. Leave it frozen, or attach one Delta a task."
            )
        sites = self.sites(structure)
        matrices = self.matrices(tasks, len(sites), structure.d_model)
        widths = (structure.d_model, self.bottleneck)
        post_norms = tasks if self.post_norm else 0
        parts: dict[str, Part] = {
            "adapters": SiteAdapters(sites, matrices, *widths, self.activation, tasks, post_norms=post_norms)
        }
        if self.norms:
            parts["norms"] = owned_norms(backbone, structure, tasks)
        if self.output_layer:
            tied = tuple(f"{path}.weight" for path in structure.output)
            parts["output_layer"] = OwnedTensors("head", backbone, [tied])
        return parts


def check_rank(name: str, rank: int) -> None:
    """Raise InputError for a rank below 1."""
    if rank < 1:
        raise InputError(f"{name}(rank={rank}): a rank is 1 or more.")


def check_divides(name: str, n: int, d_model: int, bottleneck: int) -> None:
    """Raise InputError, naming the divisors, if n does not split both widths."""
    if n < 1 or d_model % n or bottleneck % n:
        common = gcd(d_model, bottleneck)
        divisors = [k for k in range(1, common + 1) if common % k == 0]
        raise InputError(
            f"{name}(n={n}, bottleneck={bottleneck}) on d_model={d_model}: n must divide both widths. "
            f"Use n from {divisors}, or another bottleneck."
        )


@dataclass(frozen=True, kw_only=True)
class Adapter(SiteMethod):
    """Dense bottleneck adapters (Houlsby et al., arXiv:1902.00751v2; on T5 as in Compacter, §4.2)."""

    learning_rate: ClassVar[float] = 3e-4
    embedded_rate: ClassVar[float | None] = 3e-3

    def matrices(self, adapters: int, sites: int, d_model: int) -> AdapterMatrices:
        """Every matrix its own."""
        return Dense(adapters, sites, d_model, self.bottleneck)


@dataclass(frozen=True, kw_only=True)
class LowRankAdapter(SiteMethod):
    """Adapters whose projections are products of two thin factors (Adapter-LowRank; Compacter, §4.2)."""

    learning_rate: ClassVar[float] = 3e-3
    embedded_rate: ClassVar[float | None] = 1e-2

    rank: int = 1
    """Rank of both projections."""

    def check(self, structure: ModelStructure) -> None:
        """The family's checks, and the rank's."""
        super().check(structure)
        check_rank(type(self).__name__, self.rank)

    def matrices(self, adapters: int, sites: int, d_model: int) -> AdapterMatrices:
        """Two thin factors each."""
        return LowRank(adapters, sites, d_model, self.bottleneck, self.rank)


@dataclass(frozen=True, kw_only=True)
class PHMAdapter(SiteMethod):
    """Adapters whose projections are PHM layers, each with its own A and full B (Compacter, §4.2)."""

    learning_rate: ClassVar[float] = 3e-3
    embedded_rate: ClassVar[float | None] = 1e-2

    n: int = 12
    """Number of Kronecker products in each sum."""

    def check(self, structure: ModelStructure) -> None:
        """The family's checks, and that n divides both widths."""
        super().check(structure)
        check_divides(type(self).__name__, self.n, structure.d_model, self.bottleneck)

    def matrices(self, adapters: int, sites: int, d_model: int) -> AdapterMatrices:
        """A sum of n Kronecker products each."""
        return PHM(adapters, sites, d_model, self.bottleneck, self.n)


@dataclass(frozen=True, kw_only=True)
class Compacter(SiteMethod):
    """Compacter: W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢ), A shared by the whole model (arXiv:2106.04647v2, §3).

    With `positions=("feed_forward",)` it is Compacter++.
    """

    learning_rate: ClassVar[float] = 3e-3
    embedded_rate: ClassVar[float | None] = 1e-2

    n: int = 4
    """Number of Kronecker products in each sum."""
    rank: int = 1
    """Rank of the fast weights s·t."""
    shared_slow: bool = True
    """One A for all sites and both projections; otherwise each projection has its own."""
    train_slow: bool = True
    """Train A; otherwise it stays as drawn."""
    factorized_slow: bool = False
    """Make each Aᵢ from two rank-one factors."""

    def check(self, structure: ModelStructure) -> None:
        """The family's checks, the rank's, and that n divides both widths."""
        super().check(structure)
        check_rank(type(self).__name__, self.rank)
        check_divides(type(self).__name__, self.n, structure.d_model, self.bottleneck)

    def matrices(self, adapters: int, sites: int, d_model: int) -> AdapterMatrices:
        """Shared slow weights against each site's fast ones."""
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
