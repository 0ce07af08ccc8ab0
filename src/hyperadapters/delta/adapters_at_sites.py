"""Bottleneck adapters at the sites of a backbone."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters.backbones import Placement, Site, module_at, residual_of
from hyperadapters.delta.by_row import _cast, _common_dtype, _of_sites
from hyperadapters.delta.part import Handle, ParameterKind, Part, Place
from hyperadapters.delta.residual_inputs import _ResidualInput
from hyperadapters.layers import (
    Activation,
    AdapterIndex,
    AdapterMatrices,
    AdapterWeights,
    Factors,
    Present,
    bottleneck_adapter,
    map_factors,
    selected,
)

_POST_NORM_SCALE = 0.1
"""Initial scale of the norm after an up-projection. A fresh adapter's output is small; a norm of scale 1 would make it
as large as the sub-layer's output that it is added to."""


class AdaptersAtSites(Part):
    """Bottleneck adapters at sites of the backbone (Compacter, arXiv:2106.04647v2, §4.1).

    Subclasses say where the weights come from.

    Args:
        sites: where the adapters sit.
        activation: the non-linearity between their projections.
        placement: what they read.
    """

    def __init__(self, sites: Sequence[Site], activation: Activation, placement: Placement = "in_line") -> None:
        super().__init__()
        self.sites = tuple(sites)
        self.placement: Placement = placement
        self.activation: Activation = activation
        self.linear: list[nn.Module] = []
        """The linear layers whose output the adapters transform, set by `install`."""
        self.has_projections = True
        """Whether the adapters have projections; HyperFormer's ablations have layer norms alone."""
        self.has_norms = False
        """Whether a layer norm follows the up-projections."""

    @abstractmethod
    def weights(self, rows: AdapterIndex) -> AdapterWeights:
        """Compute the weights of all sites for the adapters that the rows use, (present, sites, …)."""

    def generate(self, rows: AdapterIndex) -> list[AdapterWeights]:
        """Compute each site's weights for the adapters that the rows use, all sites in one contraction."""
        dtype = _common_dtype([module._parameters.get("weight") for module in self.linear])
        columns = [self.by_site(map_factors(partial(_cast, dtype), weight), rows) for weight in self.weights(rows)[:-1]]
        return [AdapterWeights(*site)._replace(rows=rows.index) for site in zip(*columns, strict=True)]

    def by_site(self, weight: Tensor | Factors | None, rows: AdapterIndex) -> Sequence[Any]:
        """Split a tensor of all sites, or each of its factors, into one per site."""
        if weight is None:
            return [None] * len(self.sites)
        if isinstance(weight, tuple):
            return list(zip(*(_of_sites(factor, rows) for factor in weight), strict=True))
        return _of_sites(weight, rows)

    def not_linear(self) -> list[str]:
        """Return why the adapters are no linear maps; empty: they are."""
        problems = []
        if self.activation != "identity":
            problems.append(
                f"activation={self.activation!r} is not linear: train with activation='identity', or let "
                "`hyperadapters convert --to lora --fit DATA` find the LoRA that comes nearest"
            )
        if self.placement != "in_line":
            problems.append(
                f"placement={self.placement!r} reads the residual stream, which is not what the linear layer before "
                "the adapters reads or returns"
            )
        if not self.has_projections:
            problems.append("it has no projections")
        if self.has_norms:
            problems.append("a layer norm follows the up-projections")
        return problems

    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Register a forward hook on the module of every site and, where adapters read it, on the residual stream.

        Raises:
            InputError: they read it, and where it can be seen is not known.
        """
        self.linear = [module_at(backbone, site.linear) for site in self.sites]
        inputs = [self.residual_input(backbone, site) for site in self.sites]
        handles: list[Handle] = []
        for index, (site, found) in enumerate(zip(self.sites, inputs, strict=True)):
            if found is not None:
                seen = module_at(backbone, found.residual.module)
                handles.append(seen.register_forward_pre_hook(found.keep, with_kwargs=True))
            hook = partial(self.adapt, place(index), read=found)
            handles.append(module_at(backbone, site.module).register_forward_hook(hook))
        return handles

    def residual_input(self, backbone: nn.Module, site: Site) -> _ResidualInput | None:
        """Return what the adapter of a site reads, if that is not the output of its sub-layer."""
        if self.placement == "in_line":
            return None
        residual = residual_of(backbone, site)
        return _ResidualInput(self.placement, residual, module_at(backbone, residual.norm) if residual.norm else None)

    def adapt(
        self,
        weights: Callable[[], AdapterWeights],
        module: nn.Module,
        args: tuple[Any, ...],
        output: Float[Tensor, "*tokens d_model"] | tuple[Any, ...],
        *,
        read: _ResidualInput | None = None,
    ) -> Float[Tensor, "*tokens d_model"] | tuple[Any, ...]:
        """Replace the module's output y by A(x) + y (a forward hook); y is the first element of a tuple.

        What the adapter reads, x, is y unless `read` gives something else.
        """
        y, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        found = bottleneck_adapter(y, weights(), self.activation, None if read is None else read.read(y))
        return found if rest is None else (found, *rest)  # a mixture of experts returns its routing too


class SiteAdapters(AdaptersAtSites):
    """Adapters whose weights are trained directly.

    Args:
        sites: where the adapters sit.
        matrices: the parametrisation of their projections.
        d_model: width of the backbone.
        bottleneck: width of the adapters.
        activation: the non-linearity between the projections.
        adapters: length of the adapter axis, one entry per task.
        post_norms: number of layer norms after the up-projection at each site: 0, 1 (shared by all adapters), or one
            for each adapter.
        placement: what the adapters read.
        scaling: their outputs are multiplied by this.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        matrices: AdapterMatrices,
        d_model: int,
        bottleneck: int,
        activation: Activation,
        adapters: int = 1,
        post_norms: int = 0,
        *,
        placement: Placement = "in_line",
        scaling: float = 1.0,
    ) -> None:
        super().__init__(sites, activation, placement)
        self.matrices, self.scaling = matrices, scaling
        self.adapters = adapters
        self.down_bias = nn.Parameter(torch.zeros(adapters, len(sites), bottleneck))
        self.up_bias = nn.Parameter(torch.zeros(adapters, len(sites), d_model))
        ones = torch.ones(post_norms, len(sites), d_model)
        self.scale = nn.Parameter(_POST_NORM_SCALE * ones) if post_norms else None
        self.shift = nn.Parameter(torch.zeros_like(ones)) if post_norms else None
        self.has_norms = bool(post_norms)

    def kind(self, tensor: str) -> ParameterKind:
        """Return "shared" for slow weights that all sites share, "norm" for a norm's vectors, else "adapter"."""
        if tensor in ("scale", "shift"):
            return "norm"
        return "shared" if tensor.startswith("matrices.slow.") else "adapter"

    def per_adapter(self) -> tuple[str, ...]:
        """Return the names of all tensors but those of a norm that the adapters share."""
        return tuple(name for name, tensor in self.held().items() if len(tensor) == self.adapters)

    def grow(self, like: Sequence[int]) -> None:
        """Append one adapter, the mean of those numbered in `like`."""
        super().grow(like)
        self.adapters += 1

    def weights(self, rows: AdapterIndex) -> AdapterWeights:
        """Compute the projections (as factors if few rows share an adapter) and select biases and norms."""
        present = rows.present
        down, up = self.matrices.factors(present) if rows.is_per_row else self.matrices(present)
        vectors = [selected(vector, present) for vector in (self.down_bias, self.up_bias)]
        if self.scaling != 1.0:
            up, vectors[1] = _scaled(up, self.scaling), self.scaling * vectors[1]
        norms = [None if v is None else self.norm_of(v, present) for v in (self.scale, self.shift)]
        return AdapterWeights(down, vectors[0], up, vectors[1], *norms)

    def norm_of(self, vector: Tensor, present: Present) -> Tensor:
        """Return a norm's vector for the adapters that are present, expanded if they share it."""
        if len(vector) == self.adapters:
            return selected(vector, present)
        return vector if present is None else vector.expand(len(present), -1, -1)


def _scaled(weight: Tensor | Factors, by: float) -> Tensor | Factors:
    """Return a matrix times a number; of a product of factors the last one is multiplied."""
    return (*weight[:-1], by * weight[-1]) if isinstance(weight, tuple) else by * weight
