"""The Delta's own copies of tensors of the backbone: layer norms, the output layer, task heads."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError
from hyperadapters.backbones import is_quantized, module_at, value_at, vectors
from hyperadapters.delta.by_row import ByRow, _cast, _common_dtype, _of_sites, by_rows
from hyperadapters.delta.part import Handle, ParameterKind, Part, Place
from hyperadapters.delta.shadowing import shadow
from hyperadapters.delta.vocabulary import Vocabulary
from hyperadapters.layers import SINGLE_ADAPTER, AdapterIndex, selected


class OwnedTensors(Part):
    """The Delta's own copies of some tensors of the backbone, which the backbone computes with instead of its own.

    The backbone's tensors are not changed: while one of their modules runs, its attribute is shadowed by the Delta's
    copy (`shadowing.py`). This costs no operation and does not appear in `state_dict`. Copies of one shape are slices
    of one parameter: `weight` holds those with the shape of the first, `weight_16` those of width 16.

    Args:
        kind: what the tensors count as.
        backbone: the model that they are copied from.
        tensors: for every tensor to own, the paths of the backbone's parameters that it replaces; a tied parameter has
            several paths.
        values: initial values by the first of these paths; tensors that are not listed start from the backbone's.
        adapters: length of the adapter axis, one entry per task; 1: all tasks share the tensors.

    Raises:
        InputError: one of the backbone's tensors is quantised.
    """

    def __init__(
        self,
        kind: ParameterKind,
        backbone: nn.Module,
        tensors: Sequence[tuple[str, ...]],
        values: Mapping[str, Tensor] | None = None,
        adapters: int = 1,
    ) -> None:
        super().__init__()
        self.owned_kind: ParameterKind = kind
        self.adapters = adapters
        self.tensors = tuple(tensors)
        groups: dict[str, list[Tensor]] = {}
        self.theirs: dict[str, list[tuple[nn.Module, str]]] = {}
        """For each parameter, the modules and attributes that it replaces; set by `install`."""
        self._vocabulary = Vocabulary(backbone, (path.rpartition(".")[0] for paths in tensors for path in paths))
        found = [
            values[paths[0]] if values and paths[0] in values else value_at(backbone, paths[0]) for paths in tensors
        ]
        for paths, value in zip(tensors, found, strict=True):
            if is_quantized(value):
                raise InputError(
                    f"{paths[0]} is quantised and cannot be trained: leave that module out of quantisation."
                )
        self.places = _places([tuple(value.shape) for value in found])
        """The parameter that holds each tensor, and its row there."""
        for (name, _), value in zip(self.places, found, strict=True):
            groups.setdefault(name, []).append(value)
        for name, group in groups.items():
            together = torch.stack([value.to(group[0].device) for value in group])
            self.register_parameter(name, nn.Parameter(repeated(together, adapters)))

    def per_adapter(self) -> tuple[str, ...]:
        """Return the names of all tensors, or none if all tasks share them."""
        return super().per_adapter() if self.adapters > 1 else ()

    def grow(self, like: Sequence[int]) -> None:
        """Append one adapter, the mean of those numbered in `like`, unless all tasks share the tensors."""
        super().grow(like)
        self.adapters += self.adapters > 1

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of every tensor, in order."""
        return [tuple(self.get_parameter(name).shape[2:]) for name, _ in self.places]

    def kind(self, tensor: str) -> ParameterKind:
        """Return the kind given at construction."""
        return self.owned_kind

    def generate(self, rows: AdapterIndex) -> list[Tensor | ByRow]:
        """Return the tensors of the adapters that the rows use, in the order of `tensors`.

        Raises:
            InputError: one of the tensors is the output layer's, and the vocabulary was resized.
        """
        self._vocabulary.check()
        rows = rows if self.adapters > 1 else SINGLE_ADAPTER
        unbound = {
            name: _of_sites(_cast(self.type_of(name, rows), selected(getattr(self, name), rows.present)), rows)
            for name in dict.fromkeys(name for name, _ in self.places)
        }
        return by_rows([unbound[name][row] for name, row in self.places], rows)

    def of_only_adapter(self) -> dict[str, Tensor]:
        """Return the tensors of the only adapter, each by the first path of the parameter that it replaces.

        They are views, which can be written.

        Raises:
            InputError: one of the tensors is the output layer's, and the vocabulary was resized.
        """
        self._vocabulary.check()
        places = zip(self.tensors, self.places, strict=True)
        return {paths[0]: getattr(self, name).detach()[0, row] for paths, (name, row) in places}

    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Register hooks around every module that uses one of the tensors."""
        handles: list[Handle] = []
        self.theirs = {name: [] for name, _ in self.places}
        for index, paths in enumerate(self.tensors):
            for path in paths:
                module, _, attribute = path.rpartition(".")
                owner = module_at(backbone, module)
                self.theirs[self.places[index][0]].append((owner, attribute))
                handles += shadow(owner, attribute, place(index))
        return handles

    def type_of(self, name: str, rows: AdapterIndex) -> torch.dtype | None:
        """Return the common dtype of the backbone's tensors that a parameter replaces, or None.

        It is None if their dtypes differ, and if rows use several adapters, where the input's dtype decides.
        """
        theirs = [owner._parameters[attribute] for owner, attribute in self.theirs.get(name, ())]
        return None if rows.index is not None else _common_dtype(theirs)


def _places(shapes: Sequence[tuple[int, ...]]) -> list[tuple[str, int]]:
    """Return for each tensor the name of the parameter that holds those of its shape, and its row in it.

    Args:
        shapes: of the tensors, in order.
    """
    counts: Counter[tuple[int, ...]] = Counter()
    places = []
    for shape in shapes:
        name = "weight" if shape == shapes[0] else f"weight_{'x'.join(map(str, shape))}"
        places.append((name, counts[shape]))
        counts[shape] += 1
    return places


def repeated(tensor: Float[Tensor, "..."], adapters: int) -> Float[Tensor, "adapters ..."]:
    """Return a copy of a tensor for every adapter, in float32.

    The copy is made with a factory function, so that it takes no memory under `torch.device("meta")`.

    Args:
        tensor: any tensor.
        adapters: length of the adapter axis.
    """
    return torch.empty(adapters, *tensor.shape, dtype=torch.float32).copy_(tensor)


def owned_norms(backbone: nn.Module, norms: Sequence[str], adapters: int = 1) -> OwnedTensors:
    """Build the Delta's own copies of some layer norms of a backbone, weights and biases.

    Args:
        backbone: a model of the transformers library.
        norms: paths of the norms.
        adapters: length of the adapter axis; 1: all tasks share the norms.
    """
    paths = [f"{path}.{attribute}" for path in norms for attribute in vectors(backbone.get_submodule(path))]
    return OwnedTensors("norm", backbone, [(path,) for path in paths], adapters=adapters)
