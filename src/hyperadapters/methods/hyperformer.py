"""Many tasks in one model: HyperFormer, HyperFormer++, their baseline, and hypernetworks that write Compacter.

HyperFormer: Karimi Mahabadi, Ruder, Dehghani, Henderson, arXiv:2106.04489v1. The last two methods are the outlook of
Compacter (arXiv:2106.04647v2, §6): the hypernetwork writes only the fast weights, the slow ones are shared.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import ModelStructure, Site
from hyperadapters.delta import AdaptersAtSites, Method, ParameterKind, Part, SiteAdapters, owned_norms
from hyperadapters.layers import (
    PROJECTED,
    AdapterIndex,
    AdapterWeights,
    Dense,
    Matrices,
    Present,
    SharedGenerator,
    SiteGenerators,
    Written,
    kron_sum,
    low_rank_kron_sum,
    normal,
    selected,
)
from hyperadapters.methods.adapters import Adapter, AtSites, Compacter, PHMAdapter, check_divides, check_rank

GENERATOR_STD = 0.01
"""Of the generators' weights (HyperFormer, published code)."""


class HyperAdapters(AdaptersAtSites):
    """Adapters whose weights a hypernetwork writes, once a pass for the tasks that are present."""

    def __init__(self, sites: tuple[Site, ...], method: "HyperMethod", d_model: int, tasks: int) -> None:
        super().__init__(sites, method.activation)
        self.method = method
        self.tasks = normal(tasks, method.task_width, std=1.0)
        self.networks = nn.ModuleDict(method.networks(sites, d_model))
        slow = method.slow() if method.adapter_blocks else None
        self.slow = None if slow is None else nn.Parameter(slow)

    def kind(self, tensor: str) -> ParameterKind:
        """Task embeddings are "adapter"; hypernetworks and slow weights, which all tasks share, are "shared"."""
        return "adapter" if tensor == "tasks" else "shared"

    def per_adapter(self) -> tuple[str, ...]:
        """The task embeddings alone."""
        return ("tasks",)

    def written(self, present: Present) -> dict[str, Tensor]:
        """Every written tensor of every site, (present, sites, *its shape)."""
        embeddings = selected(self.tasks, present)
        stacks = [network(embeddings) for network in self.networks.values()]
        return {name: torch.cat([stack[name] for stack in stacks], dim=1) for name in stacks[0]}

    def weights(self, rows: AdapterIndex) -> AdapterWeights:
        """What was written, as the weights of adapters."""
        found = self.written(rows.present)
        down, up = self.method.assembled(found, self.slow) if self.method.adapter_blocks else (None, None)
        return AdapterWeights(down, found.get("down_bias"), up, found.get("up_bias"), found.get("scale"),
                              found.get("shift"))  # fmt: skip

    def baked(self, task: int) -> dict[str, Tensor]:
        """What was written for one task, as the tensors of `SiteAdapters`."""
        place = torch.tensor([task], device=self.tasks.device)
        vectors = ("down_bias", "up_bias", "scale", "shift")
        found = self.written(place)
        tensors = {name if name in vectors else f"matrices.{name}": tensor for name, tensor in found.items()}
        return tensors | self.method.baked_slow(self.slow, len(self.sites))


def site_fields(method: AtSites) -> dict[str, Any]:
    """The fields that all methods with adapters at sites have."""
    return {field.name: getattr(method, field.name) for field in fields(AtSites)}


def numbers(values: list[Any]) -> list[int]:
    """The place of every value among the distinct ones, in order."""
    order = sorted(set(values))
    return [order.index(value) for value in values]


@dataclass(frozen=True, kw_only=True)
class HyperMethod(AtSites):
    """A hypernetwork writes every site's adapter from the task's embedding: common to the whole family."""

    learning_rate: ClassVar[float] = 3e-4

    adapter_blocks: bool = True
    """Write the projections; without, the conditional norm alone is left (ablation)."""
    conditional_norm: bool = True
    """Write a layer norm's scale and shift after the up-projection: γ ⊙ norm(U g(D y)) + β + y."""
    task_projector: bool = True
    """Pass embeddings through a small network before the generators; without, generators read them as they are."""

    @property
    def task_width(self) -> int:
        """Width of a task's embedding."""
        return PROJECTED

    @property
    def read_width(self) -> int:
        """Width of what one stack's shared generator reads."""
        return PROJECTED if self.task_projector else self.task_width + 2 * PROJECTED

    def check(self, structure: ModelStructure) -> None:
        """The family's checks, and that something is written."""
        super().check(structure)
        if not (self.adapter_blocks or self.conditional_norm):
            raise InputError(
                f"{type(self).__name__}(adapter_blocks=False, conditional_norm=False) writes nothing: leave one."
            )

    def networks(self, sites: tuple[Site, ...], d_model: int) -> dict[str, nn.Module]:
        """The hypernetworks, one a stack, in the order of the sites."""
        stacks = dict.fromkeys(site.stack for site in sites)
        return {stack: self.network([s for s in sites if s.stack == stack], d_model) for stack in stacks}

    def network(self, sites: list[Site], d_model: int) -> nn.Module:
        """One hypernetwork for all sites of a stack (HyperFormer++, §2.3)."""
        layers, positions = numbers([site.layer for site in sites]), numbers([site.position for site in sites])
        written = self.all_written(d_model)
        return SharedGenerator(self.task_width, layers, positions, written, project=self.task_projector)

    def all_written(self, d_model: int) -> dict[str, Written]:
        """Every tensor that is written for a site."""
        vectors = {}
        if self.adapter_blocks:
            vectors = {"down_bias": Written((self.bottleneck,), GENERATOR_STD)}
            vectors |= {"up_bias": Written((d_model,), GENERATOR_STD)}
        if self.conditional_norm:
            vectors |= {name: Written((d_model,), GENERATOR_STD) for name in ("scale", "shift")}
        return {**(self.projections(d_model) if self.adapter_blocks else {}), **vectors}

    @abstractmethod
    def projections(self, d_model: int) -> dict[str, Written]:
        """What the projections are made from."""

    @abstractmethod
    def assembled(self, written: Mapping[str, Tensor], slow: Tensor | None) -> Matrices:
        """The down- and up-projections, from what was written."""

    def slow(self) -> Tensor | None:
        """Slow weights that all tasks and sites share, where there are any."""
        return None

    def baked_slow(self, slow: Tensor | None, sites: int) -> dict[str, Tensor]:
        """The slow weights as a plain adapter holds them."""
        return {}

    def plain_fields(self) -> dict[str, Any]:
        """The fields that a plain adapter has too.

        Raises:
            InputError: there are no adapters.
        """
        if not self.adapter_blocks:
            raise InputError(
                f"{type(self).__name__}(adapter_blocks=False) writes norms alone, which no plain adapter is."
            )
        return site_fields(self) | {"post_norm": self.conditional_norm}

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Hypernetworks and task embeddings, and norms that all tasks share."""
        parts: dict[str, Part] = {"adapters": HyperAdapters(self.sites(structure), self, structure.d_model, tasks)}
        return parts | ({"norms": owned_norms(backbone, structure)} if self.norms else {})


@dataclass(frozen=True, kw_only=True)
class DenseHyperMethod(HyperMethod):
    """The hypernetwork writes both matrices whole."""

    def projections(self, d_model: int) -> dict[str, Written]:
        """Two matrices."""
        down, up = (d_model, self.bottleneck), (self.bottleneck, d_model)
        return {"down": Written(down, GENERATOR_STD), "up": Written(up, GENERATOR_STD)}

    def assembled(self, written: Mapping[str, Tensor], slow: Tensor | None) -> Matrices:
        """As they were written."""
        return written["down"], written["up"]

    def plain(self) -> Method:
        """A dense adapter with a norm."""
        return Adapter(**self.plain_fields())


@dataclass(frozen=True, kw_only=True)
class HyperFormerPlusPlus(DenseHyperMethod):
    """HyperFormer++: one hypernetwork a stack writes dense adapters for all its sites (arXiv:2106.04489v1, §2.3)."""


@dataclass(frozen=True, kw_only=True)
class HyperFormer(DenseHyperMethod):
    """HyperFormer: every layer and position has generators of its own (arXiv:2106.04489v1, §2.2)."""

    @property
    def task_width(self) -> int:
        """512, or what the generators read where nothing projects it."""
        return 512 if self.task_projector else PROJECTED

    def networks(self, sites: tuple[Site, ...], d_model: int) -> dict[str, nn.Module]:
        """One projector for both stacks, and generators at every site."""
        written = self.all_written(d_model)
        return {"sites": SiteGenerators(self.task_width, len(sites), written, project=self.task_projector)}


def spread(width: int, *shape: int) -> float:
    """The generator's spread with which a factor starts as wide as Compacter draws it: Glorot-uniform, gain √2.

    The embedding of this width that generators read is normalised, or drawn from N(0, 1): its squared length is its
    width.
    """
    return math.sqrt(2 * 2 / (shape[-2] + shape[-1]) / width)


@dataclass(frozen=True, kw_only=True)
class HyperCompacter(HyperMethod):
    """A HyperFormer++ that writes Compacter's fast weights s, t; one slow A for all tasks (arXiv:2106.04647v2, §6)."""

    embedded_rate: ClassVar[float | None] = 1e-3

    n: int = 4
    """Number of Kronecker products in each sum."""
    rank: int = 1
    """Rank of the fast weights s·t."""

    def check(self, structure: ModelStructure) -> None:
        """The family's checks, the rank's, and that n divides both widths."""
        super().check(structure)
        check_rank(type(self).__name__, self.rank)
        check_divides(type(self).__name__, self.n, structure.d_model, self.bottleneck)

    def projections(self, d_model: int) -> dict[str, Written]:
        """The factors s and t of both projections."""
        p, q, r = d_model // self.n, self.bottleneck // self.n, self.rank
        shapes = {"down_left": (p, r), "down_right": (r, q), "up_left": (q, r), "up_right": (r, p)}
        return {name: Written((self.n, *shape), spread(self.read_width, *shape)) for name, shape in shapes.items()}

    def slow(self) -> Tensor:
        """A ~ N(0, (1e-4)²), as in Compacter."""
        return torch.randn(1, 1, self.n, self.n, self.n) * 1e-4

    def assembled(self, written: Mapping[str, Tensor], slow: Tensor | None) -> Matrices:
        """W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢ) for every task and site."""
        assert slow is not None
        down = low_rank_kron_sum(slow, written["down_left"], written["down_right"])
        return down, low_rank_kron_sum(slow, written["up_left"], written["up_right"])

    def baked_slow(self, slow: Tensor | None, sites: int) -> dict[str, Tensor]:
        """Compacter's one A."""
        return {} if slow is None else {"matrices.slow.weight": slow}

    def plain(self) -> Method:
        """A Compacter with a norm."""
        return Compacter(n=self.n, rank=self.rank, **self.plain_fields())


@dataclass(frozen=True, kw_only=True)
class HyperPHM(HyperMethod):
    """A HyperFormer++ that writes the blocks B of PHM layers; one slow A serves all tasks (arXiv:2106.04647v2, §6)."""

    n: int = 4
    """Number of Kronecker products in each sum."""

    def check(self, structure: ModelStructure) -> None:
        """The family's checks, and that n divides both widths."""
        super().check(structure)
        check_divides(type(self).__name__, self.n, structure.d_model, self.bottleneck)

    def projections(self, d_model: int) -> dict[str, Written]:
        """The blocks of both projections."""
        p, q = d_model // self.n, self.bottleneck // self.n
        shapes = {"down_fast": (p, q), "up_fast": (q, p)}
        return {name: Written((self.n, *shape), spread(self.read_width, *shape)) for name, shape in shapes.items()}

    def slow(self) -> Tensor:
        """A ~ N(0, 0.01²), as in PHM-Adapters."""
        return torch.randn(1, 1, self.n, self.n, self.n) * 0.01

    def assembled(self, written: Mapping[str, Tensor], slow: Tensor | None) -> Matrices:
        """W = Σᵢ Aᵢ ⊗ Bᵢ for every task and site."""
        assert slow is not None
        return kron_sum(slow, written["down_fast"]), kron_sum(slow, written["up_fast"])

    def baked_slow(self, slow: Tensor | None, sites: int) -> dict[str, Tensor]:
        """An A for every projection, as a PHM-Adapter has it."""
        if slow is None:
            return {}
        return {f"matrices.{side}_slow": slow.expand(1, sites, -1, -1, -1) for side in ("down", "up")}

    def plain(self) -> Method:
        """A PHM-Adapter with a norm."""
        return PHMAdapter(n=self.n, **self.plain_fields())


@dataclass(frozen=True, kw_only=True)
class AdaptersMultiTask(AtSites):
    """Adapters†: one dense adapter a task at every site, with a norm after it and T5 norms that all tasks share.

    The baseline of HyperFormer (arXiv:2106.04489v1, §3).
    """

    learning_rate: ClassVar[float] = 3e-4
    embedded_rate: ClassVar[float | None] = 3e-3

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Adapters for every task; shared norms."""
        sites, d_model = self.sites(structure), structure.d_model
        matrices = Dense(tasks, len(sites), d_model, self.bottleneck)
        adapters = SiteAdapters(sites, matrices, d_model, self.bottleneck, self.activation, tasks, post_norms=1)
        parts: dict[str, Part] = {"adapters": adapters}
        return parts | ({"norms": owned_norms(backbone, structure)} if self.norms else {})

    def plain(self) -> Method:
        """A dense adapter with a norm."""
        return Adapter(**site_fields(self), post_norm=True)


PRESETS: dict[str, Method] = {
    "adapters-multitask": AdaptersMultiTask(),
    "hyperformer": HyperFormer(),
    "hyperformer++": HyperFormerPlusPlus(),
    "hyper-compacter": HyperCompacter(),
    "hyper-phm": HyperPHM(),
}
