"""Adapters beside the backbone: a ladder that reads its frozen states (Sung et al., arXiv:2206.06522v2, §3).

No gradient enters the backbone: a training step costs one forward pass of it and the ladder, and with `training.reuse`
the ladder alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

from torch import nn

from hyperadapters._utils import InputError, settings
from hyperadapters.backbones import BackboneKind, ModelStructure, blocks_of
from hyperadapters.delta import Method, Part
from hyperadapters.layers import PHM, Activation, AdapterMatrices, Dense, LowRank, LowRankPHM
from hyperadapters.methods.adapters import _check_divides, _check_rank
from hyperadapters.methods.hyperformer import HyperMethod
from hyperadapters.methods.ladders import _HyperLadder, _Ladder, _stack_beside


@dataclass(frozen=True, kw_only=True)
class DenseProjections:
    """Unconstrained projections, as in Houlsby's adapters."""

    def check(self, d_model: int, bottleneck: int) -> None:
        """Raise InputError if the fields do not fit the widths: these always do."""

    def matrices(self, adapters: int, downs: int, d_model: int, bottleneck: int) -> AdapterMatrices:
        """Return one up-projection and several down-projections of every adapter."""
        return Dense(adapters, downs, d_model, bottleneck, ups=1)


@dataclass(frozen=True, kw_only=True)
class LowRankProjections:
    """Projections of low rank, W = L·R."""

    rank: int = 4
    """Rank of the projections."""

    def check(self, d_model: int, bottleneck: int) -> None:
        """Raise InputError for a rank below 1."""
        _check_rank(type(self).__name__, self.rank)

    def matrices(self, adapters: int, downs: int, d_model: int, bottleneck: int) -> AdapterMatrices:
        """Return one up-projection and several down-projections of every adapter."""
        return LowRank(adapters, downs, d_model, bottleneck, self.rank, ups=1)


@dataclass(frozen=True, kw_only=True)
class PHMProjections:
    """PHM layers, W = Σᵢ Aᵢ ⊗ Bᵢ, each with its own A."""

    n: int = 4
    """Number of Kronecker products in each sum; it must divide d_model and the bottleneck."""

    def check(self, d_model: int, bottleneck: int) -> None:
        """Raise InputError if n does not divide both widths."""
        _check_divides(type(self).__name__, self.n, d_model, bottleneck)

    def matrices(self, adapters: int, downs: int, d_model: int, bottleneck: int) -> AdapterMatrices:
        """Return one up-projection and several down-projections of every adapter."""
        return PHM(adapters, downs, d_model, bottleneck, self.n, ups=1)


@dataclass(frozen=True, kw_only=True)
class CompacterProjections:
    """Compacter's projections, W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢ), with one A for the whole ladder (arXiv:2106.04647v2, §3)."""

    n: int = 4
    """Number of Kronecker products in each sum; it must divide d_model and the bottleneck."""
    rank: int = 1
    """Rank of sᵢ·tᵢ."""

    def __post_init__(self) -> None:
        """Raise InputError if a value is of a wrong type."""
        settings.check(self, "method.projections")

    def check(self, d_model: int, bottleneck: int) -> None:
        """Raise InputError for a rank below 1, and if n does not divide both widths."""
        _check_rank(type(self).__name__, self.rank)
        _check_divides(type(self).__name__, self.n, d_model, bottleneck)

    def matrices(self, adapters: int, downs: int, d_model: int, bottleneck: int) -> AdapterMatrices:
        """Return one up-projection and several down-projections of every adapter."""
        return LowRankPHM(
            adapters, downs, d_model, bottleneck, self.n, self.rank, shared=True, factorized=False, trained=True, ups=1
        )


Projections = DenseProjections | LowRankProjections | PHMProjections | CompacterProjections
_PROJECTIONS = {
    "dense": DenseProjections,
    "low-rank": LowRankProjections,
    "phm": PHMProjections,
    "compacter": CompacterProjections,
}


@dataclass(frozen=True, kw_only=True)
class _LadderMethod(Method):
    """A ladder beside the backbone: what those with tensors of their own and those that are written have in common."""

    learning_rate: ClassVar[float] = 1e-3
    many_tasks: ClassVar[bool] = True

    bottleneck: int = 32
    """Width of the ladder."""
    heads: int = 1
    """Heads of each rung's attention; they divide the bottleneck. Beside a decoder alone there is no attention."""
    first_layer: int = 0
    """The lowest layer with a rung, from 0. The top layer always has one."""
    activation: Activation = "relu"
    """The non-linearity of what a rung reads."""

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if a width is out of range, or the heads do not divide it."""
        name = type(self).__name__
        if self.bottleneck < 1 or self.heads < 1 or self.bottleneck % max(1, self.heads):
            raise InputError(
                f"{name}(bottleneck={self.bottleneck}, heads={self.heads}): both are 1 or more, and the heads divide "
                "the bottleneck."
            )
        if self.first_layer < 0:
            raise InputError(f"{name}(first_layer={self.first_layer}): layers count from 0. Use 0 or more.")

    def layers(self, backbone: nn.Module, structure: ModelStructure) -> tuple[str, ...]:
        """Return the paths of the layers with a rung, the lowest first.

        Raises:
            InputError: the layers of the backbone are not known.
        """
        found = tuple(blocks_of(backbone, structure)[_stack_beside(structure)])
        return found[min(self.first_layer, len(found) - 1) :]


@dataclass(frozen=True, kw_only=True)
class SideAdapter(_LadderMethod):
    """A ladder beside the backbone: rungs read its frozen states, and one projection adds to the last of them.

    Ladder side tuning, arXiv:2206.06522v2, §3, with projections in any of our parametrisations. Beside an
    encoder-decoder it stands at the decoder and reads the encoder's last states.
    """

    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 2e-3}

    projections: Projections = field(default_factory=DenseProjections, metadata=settings.one_of(_PROJECTIONS))
    """How the projections between backbone and ladder are parametrised."""

    @property
    def separable(self) -> bool:
        """Whether tasks share no tensor: they share none."""
        return True

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if a width is out of range, or n or the heads do not divide it."""
        super().check(structure)
        self.projections.check(structure.d_model, self.bottleneck)

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build the ladder.

        Raises:
            InputError: the layers of the backbone are not known.
        """
        return {"ladder": _Ladder(self, structure, self.layers(backbone, structure), tasks)}


@dataclass(frozen=True, kw_only=True)
class HyperSideAdapter(_LadderMethod):
    """A ladder beside the backbone that a hypernetwork writes, as HyperFormer++ writes adapters in it.

    One network writes every rung from the task's embedding joined with the rung's (arXiv:2106.04489v1, §2.3), another
    one the projection at the end; the ladder is that of `SideAdapter` with dense projections.
    """

    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 3e-4}
    large_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 3e-4}
    """The best of three on a small encoder (`results/raced-rates.json`); no wide one was searched."""
    entry_rates: ClassVar[Mapping[BackboneKind, float]] = HyperMethod.entry_rates

    def plain(self) -> Method:
        """Return a ladder with tensors of its own."""
        return SideAdapter(**{each.name: getattr(self, each.name) for each in fields(_LadderMethod)})

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build hypernetworks and task embeddings.

        Raises:
            InputError: the layers of the backbone are not known.
        """
        return {"ladder": _HyperLadder(self, structure, self.layers(backbone, structure), tasks)}


PRESETS: dict[str, Method] = {
    "side": SideAdapter(),
    "side-compacter": SideAdapter(projections=CompacterProjections()),
    "hyper-side": HyperSideAdapter(),
}
