"""The Delta's own copies of tensors of the backbone: layer norms, the output layer, heads."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import ModelStructure, is_quantized, value_at, vectors
from hyperadapters.delta.by_row import ByRow, by_rows, cast, common_dtype, of_sites
from hyperadapters.delta.part import Handle, ParameterKind, Part
from hyperadapters.delta.shadowing import shadow
from hyperadapters.layers import SINGLE_ADAPTER, AdapterIndex, selected


class OwnedTensors(Part):
    """The Delta's own copies of some tensors of the backbone, used in their place.

    The backbone's tensors stay where they are and as they are: while one of the modules runs, its attribute is
    shadowed by the Delta's. This costs no operation, and `state_dict` does not see it. Tensors of one shape are
    slices of one parameter: `weight` holds those shaped as the first, `weight_16` those of width 16.
    """

    def __init__(
        self,
        kind: ParameterKind,
        backbone: nn.Module,
        tensors: Sequence[tuple[str, ...]],
        values: Mapping[str, Tensor] | None = None,
        adapters: int = 1,
    ) -> None:
        """`tensors` lists, for every tensor to own, the parameters of the backbone, by path, that it stands for.

        It starts as a copy of the first of them, or as what `values` has under that path. With one adapter they serve
        the rows of all tasks.
        """
        super().__init__()
        self.owned_kind: ParameterKind = kind
        self.adapters = adapters
        self.tensors = tuple(tensors)
        groups: dict[tuple[int, ...], list[Tensor]] = {}
        self.places: list[tuple[str, int]] = []
        self.theirs: dict[str, list[tuple[nn.Module, str]]] = {}
        """The modules of the backbone, and their attributes, that each parameter stands for, once installed."""
        for paths in tensors:
            value = values[paths[0]] if values and paths[0] in values else value_at(backbone, paths[0])
            if is_quantized(value):
                raise InputError(
                    f"{paths[0]} is quantised and cannot be trained: leave that module out of quantisation."
                )
            group = groups.setdefault(tuple(value.shape), [])
            name = "weight" if next(iter(groups)) == value.shape else f"weight_{'x'.join(map(str, value.shape))}"
            self.places.append((name, len(group)))
            group.append(value)
        for name, group in zip(dict.fromkeys(name for name, _ in self.places), groups.values(), strict=True):
            together = torch.stack([value.to(group[0].device) for value in group])
            self.register_parameter(name, nn.Parameter(repeated(together, adapters)))

    def per_adapter(self) -> tuple[str, ...]:
        """All, or none where all tasks share them."""
        return super().per_adapter() if self.adapters > 1 else ()

    def grow(self, like: Sequence[int]) -> None:
        """One adapter more, unless all tasks share them."""
        super().grow(like)
        self.adapters += self.adapters > 1

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of every tensor, in order."""
        return [tuple(self.get_parameter(name).shape[2:]) for name, _ in self.places]

    def kind(self, tensor: str) -> ParameterKind:
        """The kind given at construction."""
        return self.owned_kind

    def generate(self, rows: AdapterIndex) -> list[Tensor | ByRow]:
        """The tensors of the adapters that the rows use, in order."""
        rows = rows if self.adapters > 1 else SINGLE_ADAPTER
        unbound = {
            name: of_sites(cast(self.type_of(name, rows), selected(getattr(self, name), rows.present)), rows)
            for name in dict.fromkeys(name for name, _ in self.places)
        }
        return by_rows([unbound[name][row] for name, row in self.places], rows)

    def install(self, backbone: nn.Module, generated: Callable[[], Sequence[Tensor | ByRow]]) -> list[Handle]:
        """Hooks around every module that uses one of the tensors."""
        handles: list[Handle] = []
        self.theirs = {name: [] for name, _ in self.places}
        for index, paths in enumerate(self.tensors):
            for path in paths:
                module, _, attribute = path.rpartition(".")
                owner = backbone.get_submodule(module)
                self.theirs[self.places[index][0]].append((owner, attribute))
                handles += shadow(owner, attribute, generated, index)
        return handles

    def type_of(self, name: str, rows: AdapterIndex) -> torch.dtype | None:
        """The type of all that one parameter stands for, if it is one; where rows differ, the input's decides."""
        theirs = [owner._parameters[attribute] for owner, attribute in self.theirs.get(name, ())]
        return None if rows.index is not None else common_dtype(theirs)


def repeated(tensor: Float[Tensor, "..."], adapters: int) -> Float[Tensor, "adapters ..."]:
    """A copy for every adapter, made by a factory function: where shapes alone are built, it takes no memory."""
    return torch.empty(adapters, *tensor.shape, dtype=torch.float32).copy_(tensor)


def owned_norms(backbone: nn.Module, structure: ModelStructure, adapters: int = 1) -> OwnedTensors:
    """All of a backbone's layer norms, weights and biases."""
    paths = [f"{path}.{attribute}" for path in structure.norms for attribute in vectors(backbone.get_submodule(path))]
    return OwnedTensors("norm", backbone, [(path,) for path in paths], adapters=adapters)
