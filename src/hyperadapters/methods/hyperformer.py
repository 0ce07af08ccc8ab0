"""Several tasks in one Delta: HyperFormer, HyperFormer++, their baseline, and hypernetworks for Compacter.

HyperFormer: Karimi Mahabadi, Ruder, Dehghani, Henderson, arXiv:2106.04489v1. HyperCompacter and HyperPHM carry out the
outlook of Compacter (arXiv:2106.04647v2, §6): the hypernetwork generates only the fast weights, and all tasks share the
slow ones.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import BackboneKind, ModelStructure, Site
from hyperadapters.delta import Method, Part, SiteAdapters
from hyperadapters.layers import (
    PROJECTED,
    Dense,
    Matrices,
    SharedGenerator,
    SiteGenerators,
    Written,
    kron_sum,
    low_rank_kron_sum,
)
from hyperadapters.methods.adapters import Adapter, Compacter, PHMAdapter, _AtSites, _check_divides, _check_rank
from hyperadapters.methods.generated_adapters import _HyperAdapters

_STD = 0.01
"""Standard deviation of every linear layer's weights at initialisation (HyperFormer, published code)."""


def _site_fields(method: _AtSites) -> dict[str, Any]:
    """Return the values of the fields that all methods with adapters at sites have."""
    return {field.name: getattr(method, field.name) for field in fields(_AtSites)}


def _numbers(values: list[Any]) -> list[int]:
    """Return the position of every value among the sorted distinct values."""
    order = sorted(set(values))
    return [order.index(value) for value in values]


@dataclass(frozen=True, kw_only=True)
class HyperMethod(_AtSites):
    """A hypernetwork generates every site's adapter from the task's embedding: what the whole family has in common."""

    learning_rate: ClassVar[float] = 3e-4
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 1e-4}
    large_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 5e-5}
    """At the paper's rate most of the family answer every row of a small encoder alike (`results/raced-rates.json`); no
    wide one was searched."""
    entry_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder-decoder": 1.0}
    """A task's embedding is 64 numbers near 1 in size: at the rates of a network it stays where it is
    (`results/frozen-entry.jsonl`). On an encoder a head trains with it, and the rate is the method's."""

    adapter_blocks: bool = True
    """Generate the projections; otherwise only the conditional norm remains (ablation)."""
    conditional_norm: bool | None = None
    """Generate scale and shift of a layer norm after the up-projection: γ ⊙ norm(U g(D y)) + β + y. None: yes, unless
    tasks are read, because a norm takes away how near a text is to its task."""
    task_source: Literal["table", "description", "examples"] = "table"
    """Where a task's embedding comes from: a trained `table`, as in the paper; or it is read from the backbone's frozen
    states over a `description` of the task, or over up to 16 labelled `examples` of it. Then a new task needs no
    training (`Delta.add_task`), every adapter has two units more, which start as readers of how near a token's state is
    to the task's, and all tasks share one head, whose number of outputs they must share."""
    task_projector: bool = True
    """Pass embeddings through a small network before the generators; otherwise generators read them directly."""
    projector_init: Literal["published", "linear"] = "published"
    """How the projector starts. `published`: weights N(0, 0.01²) and biases 0, as in the published code; `linear`: as
    `nn.Linear` does, which makes what HyperFormer generates at first thirteen times as large."""

    @property
    def reads_tasks(self) -> bool:
        """Whether task embeddings are read from states of the backbone."""
        return self.task_source != "table"

    @property
    def shared_head(self) -> bool:
        """Whether all tasks share one head: where they are read, because a new one has no head of its own."""
        return self.reads_tasks

    @property
    def normalizes(self) -> bool:
        """Whether a norm whose vectors are generated follows the up-projection."""
        return not self.reads_tasks if self.conditional_norm is None else self.conditional_norm

    @property
    def up_std(self) -> float:
        """Standard deviation of what generates up-projections at initialisation: 0 where tasks are read.

        Then adapters begin as readers of nearness alone. What a fresh generator writes would hide that from the loss.
        """
        return 0.0 if self.reads_tasks else _STD

    @property
    def task_width(self) -> int:
        """Width of a task embedding."""
        return PROJECTED

    @property
    def projector_std(self) -> float | None:
        """Standard deviation of the projector's weights at initialisation; None: that of `nn.Linear`."""
        return _STD if self.projector_init == "published" else None

    @property
    def read_width(self) -> int:
        """Width of the input of a generator that a stack's sites share."""
        return PROJECTED if self.task_projector else self.task_width + 2 * PROJECTED

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError as for all adapters, and if the hypernetwork would generate nothing."""
        super().check(structure)
        if not (self.adapter_blocks or self.normalizes):
            raise InputError(
                f"{type(self).__name__}(adapter_blocks=False, conditional_norm=False) writes nothing: set one of the "
                "two to true."
            )

    def networks(self, sites: tuple[Site, ...], d_model: int) -> dict[str, nn.Module]:
        """Build the hypernetworks, one per stack, in the order of the sites."""
        stacks = dict.fromkeys(site.stack for site in sites)
        return {stack: self.network([s for s in sites if s.stack == stack], d_model) for stack in stacks}

    def network(self, sites: list[Site], d_model: int) -> nn.Module:
        """Build one hypernetwork for all sites of a stack (HyperFormer++, §2.3)."""
        layers, positions = _numbers([site.layer for site in sites]), _numbers([site.position for site in sites])
        written = self.all_written(d_model)
        return SharedGenerator(
            self.task_width,
            layers,
            positions,
            written,
            project=self.task_projector,
            projector_std=self.projector_std,
        )

    def all_written(self, d_model: int) -> dict[str, Written]:
        """Return the shape and initialisation of every tensor that is generated for a site, by name."""
        vectors = {}
        if self.adapter_blocks:
            vectors = {"down_bias": Written((self.bottleneck,), _STD)}
            vectors |= {"up_bias": Written((d_model,), self.up_std)}
        if self.normalizes:
            vectors |= {name: Written((d_model,), _STD) for name in ("scale", "shift")}
        return {**(self.projections(d_model) if self.adapter_blocks else {}), **vectors}

    @abstractmethod
    def projections(self, d_model: int) -> dict[str, Written]:
        """Return the tensors that the projections of a site are computed from, by name."""

    @abstractmethod
    def assembled(self, written: Mapping[str, Tensor], slow: Tensor | None) -> Matrices:
        """Compute the down- and up-projections of all tasks and sites.

        Args:
            written: the generated tensors, (present, sites, *its shape), by the names of `projections`.
            slow: the slow weights, if the method has any.
        """

    def slow(self) -> Tensor | None:
        """Draw the slow weights that all tasks and sites share; None if the method has none."""
        return None

    def baked_slow(self, slow: Tensor | None, sites: int) -> dict[str, Tensor]:
        """Return the slow weights, with the names and shapes that the plain method has for them."""
        return {}

    def plain(self) -> Method:
        """Return the plain method: dense adapters with two units more where tasks are read."""
        if not self.reads_tasks:
            return self._plain()
        units = self.bottleneck if self.adapter_blocks else 0
        return Adapter(**_site_fields(self) | {"bottleneck": units + 2, "post_norm": self.normalizes})

    @abstractmethod
    def _plain(self) -> Method:
        """Return the plain method where task embeddings are looked up."""

    def plain_fields(self) -> dict[str, Any]:
        """Return the fields of the plain method that it shares with this one.

        Raises:
            InputError: the hypernetwork generates no projections.
        """
        if not self.adapter_blocks:
            raise InputError(
                f"{type(self).__name__}(adapter_blocks=False) writes norms alone, and no plain adapter has only norms: "
                "it cannot be baked. Save the whole Delta."
            )
        return _site_fields(self) | {"post_norm": self.normalizes}

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build hypernetworks and task embeddings, and norms that all tasks share."""
        parts: dict[str, Part] = {"adapters": _HyperAdapters(self.sites(structure), self, structure.d_model, tasks)}
        return parts | self.norm_parts(backbone, structure)


@dataclass(frozen=True, kw_only=True)
class _DenseHyperMethod(HyperMethod):
    """A hypernetwork that generates both projections as dense matrices."""

    def projections(self, d_model: int) -> dict[str, Written]:
        """Return the two matrices."""
        down, up = (d_model, self.bottleneck), (self.bottleneck, d_model)
        return {"down": Written(down, _STD), "up": Written(up, self.up_std)}

    def assembled(self, written: Mapping[str, Tensor], slow: Tensor | None) -> Matrices:
        """Return the matrices as they were generated."""
        return written["down"], written["up"]

    def _plain(self) -> Method:
        """Return a dense adapter with a norm."""
        return Adapter(**self.plain_fields())


@dataclass(frozen=True, kw_only=True)
class HyperFormerPlusPlus(_DenseHyperMethod):
    """HyperFormer++: one hypernetwork per stack generates dense adapters for all its sites.

    arXiv:2106.04489v1, §2.3. The input is the task's embedding joined with embeddings of the layer and the position.
    """

    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 5e-5}


@dataclass(frozen=True, kw_only=True)
class HyperFormer(_DenseHyperMethod):
    """HyperFormer: every layer and position has a generator of dense adapters (arXiv:2106.04489v1, §2.2)."""

    @property
    def task_width(self) -> int:
        """Width of a task embedding: 512, or the generators' input width if there is no projector."""
        return 512 if self.task_projector else PROJECTED

    def networks(self, sites: tuple[Site, ...], d_model: int) -> dict[str, nn.Module]:
        """Build one projector for both stacks, and a generator for every site."""
        written = self.all_written(d_model)
        project, std = self.task_projector, self.projector_std
        return {"sites": SiteGenerators(self.task_width, len(sites), written, project=project, projector_std=std)}


def _spread(width: int, *shape: int) -> float:
    """Return the standard deviation of generator weights with which a factor starts as in Compacter.

    Compacter draws factors from Glorot's uniform distribution with gain √2. The embedding that generators read is
    normalised, or drawn from N(0, 1), so its squared length is its width.

    Args:
        width: of the embedding.
        shape: of the factor; the last two axes are those of each matrix.
    """
    return math.sqrt(2 * 2 / (shape[-2] + shape[-1]) / width)


@dataclass(frozen=True, kw_only=True)
class HyperCompacter(HyperMethod):
    """A HyperFormer++ that generates Compacter's fast weights: W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢ) with generated s and t.

    All tasks share one A (the outlook of Compacter, arXiv:2106.04647v2, §6).
    """

    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder": 1e-4, "encoder-decoder": 1e-3}

    n: int = 4
    """Number of Kronecker products in each sum; it must divide d_model and the bottleneck."""
    rank: int = 1
    """Rank of sᵢ·tᵢ."""

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError as for the whole family, for a rank below 1, and if n does not divide both widths."""
        super().check(structure)
        _check_rank(type(self).__name__, self.rank)
        _check_divides(type(self).__name__, self.n, structure.d_model, self.bottleneck)

    def projections(self, d_model: int) -> dict[str, Written]:
        """Return the factors s and t of both projections."""
        p, q, r = d_model // self.n, self.bottleneck // self.n, self.rank
        shapes = {"down_left": (p, r), "down_right": (r, q), "up_left": (q, r), "up_right": (r, p)}
        return {name: Written((self.n, *shape), _spread(self.read_width, *shape)) for name, shape in shapes.items()}

    def slow(self) -> Tensor:
        """Draw A ~ N(0, (1e-4)²), as in Compacter."""
        return torch.randn(1, 1, self.n, self.n, self.n) * 1e-4

    def assembled(self, written: Mapping[str, Tensor], slow: Tensor | None) -> Matrices:
        """Compute W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢ) for every task and site."""
        assert slow is not None
        down = low_rank_kron_sum(slow, written["down_left"], written["down_right"])
        return down, low_rank_kron_sum(slow, written["up_left"], written["up_right"])

    def baked_slow(self, slow: Tensor | None, sites: int) -> dict[str, Tensor]:
        """Return A under the name that Compacter has for it."""
        return {} if slow is None else {"matrices.slow.weight": slow}

    def _plain(self) -> Method:
        """Return a Compacter with a norm."""
        return Compacter(n=self.n, rank=self.rank, **self.plain_fields())


@dataclass(frozen=True, kw_only=True)
class HyperPHM(HyperMethod):
    """A HyperFormer++ that generates the fast weights of PHM layers: W = Σᵢ Aᵢ ⊗ Bᵢ with generated B.

    All tasks share one A (the outlook of Compacter, arXiv:2106.04647v2, §6).
    """

    n: int = 4
    """Number of Kronecker products in each sum; it must divide d_model and the bottleneck."""

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError as for the whole family, and if n does not divide both widths."""
        super().check(structure)
        _check_divides(type(self).__name__, self.n, structure.d_model, self.bottleneck)

    def projections(self, d_model: int) -> dict[str, Written]:
        """Return B of both projections."""
        p, q = d_model // self.n, self.bottleneck // self.n
        shapes = {"down_fast": (p, q), "up_fast": (q, p)}
        return {name: Written((self.n, *shape), _spread(self.read_width, *shape)) for name, shape in shapes.items()}

    def slow(self) -> Tensor:
        """Draw A ~ N(0, 0.01²), as in PHM-Adapters."""
        return torch.randn(1, 1, self.n, self.n, self.n) * 0.01

    def assembled(self, written: Mapping[str, Tensor], slow: Tensor | None) -> Matrices:
        """Compute W = Σᵢ Aᵢ ⊗ Bᵢ for every task and site."""
        assert slow is not None
        return kron_sum(slow, written["down_fast"]), kron_sum(slow, written["up_fast"])

    def baked_slow(self, slow: Tensor | None, sites: int) -> dict[str, Tensor]:
        """Return a copy of A for every projection, as a PHM-Adapter has it."""
        if slow is None:
            return {}
        return {f"matrices.{side}_slow": slow.expand(1, sites, -1, -1, -1) for side in ("down", "up")}

    def _plain(self) -> Method:
        """Return a PHM-Adapter with a norm."""
        return PHMAdapter(n=self.n, **self.plain_fields())


@dataclass(frozen=True, kw_only=True)
class AdaptersMultiTask(_AtSites):
    """Adapters†: one dense adapter per task at every site, with norms that all tasks share.

    The baseline of HyperFormer (arXiv:2106.04489v1, §3). Both the norm after each up-projection and the backbone's own
    norms are shared.
    """

    learning_rate: ClassVar[float] = 3e-4
    small_rates: ClassVar[Mapping[BackboneKind, float]] = {"encoder-decoder": 3e-3}

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build adapters for every task, and shared norms."""
        sites, d_model = self.sites(structure), structure.d_model
        matrices = Dense(tasks, len(sites), d_model, self.bottleneck)
        adapters = SiteAdapters(sites, matrices, d_model, self.bottleneck, self.activation, tasks, post_norms=1)
        parts: dict[str, Part] = {"adapters": adapters}
        return parts | self.norm_parts(backbone, structure)

    def plain(self) -> Method:
        """Return a dense adapter with a norm."""
        return Adapter(**_site_fields(self), post_norm=True)


PRESETS: dict[str, Method] = {
    "adapters-multitask": AdaptersMultiTask(),
    "hyperformer": HyperFormer(),
    "hyperformer++": HyperFormerPlusPlus(),
    "hyper-compacter": HyperCompacter(),
    "hyper-phm": HyperPHM(),
}
