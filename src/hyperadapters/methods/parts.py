"""Parts: what a Delta is made of, and how each touches the backbone.

A part holds parameters, makes from them once a pass what the backbone needs (`generate`), and puts it in place
with forward hooks (`install`). Every tensor has a leading adapter axis.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, get_args

import torch
from accelerate.utils import has_offloaded_params
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hyperadapters.anatomy import Anatomy, Site, is_quantized, own_parameters, vectors
from hyperadapters.errors import InputError
from hyperadapters.layers.bottleneck import Activation, AdapterWeights, Factors, bottleneck_adapter, each
from hyperadapters.layers.matrices import AdapterMatrices
from hyperadapters.layers.rows import ONLY, Present, Rows, check_by_row, not_by_row, per_row, selected
from hyperadapters.placement import value_at

Kind = Literal["adapter", "shared", "prompt", "norm", "bias", "head", "backbone"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Kinds of trained parameters, as tables and files name them."""


POST_NORM_SCALE = 0.1
"""Where the norm after an up-projection starts: a fresh adapter's output is small, and a norm of scale one would make
it as large as what it is added to."""


class Handle(Protocol):
    """Something that can be taken back, as torch's handles of hooks can."""

    def remove(self) -> None:
        """Undo what was installed."""


class Part(nn.Module, ABC):
    """One group of trained tensors of a Delta and the way it reaches the backbone."""

    @abstractmethod
    def kind(self, tensor: str) -> Kind:
        """The kind of one of this part's tensors, by its name."""

    @abstractmethod
    def generate(self, rows: Rows) -> Any:
        """What the hooks use during one pass over these rows, made from the parameters; called once a pass."""

    @abstractmethod
    def install(self, backbone: nn.Module, generated: Callable[[], Any]) -> list[Handle]:
        """Hook into the backbone; `generated` returns what `generate` made for the current pass."""

    def trained(self, backbone: nn.Module) -> dict[str, nn.Parameter]:
        """The tensors that train, by name."""
        return dict(self.named_parameters())

    def values(self, backbone: nn.Module) -> Mapping[str, Tensor]:
        """What the tensors that train are, in use or at rest."""
        return self.trained(backbone)

    def per_adapter(self) -> tuple[str, ...]:
        """Names of the tensors with an axis of adapters; the others serve all of them."""
        return tuple(self.held())

    def held(self) -> dict[str, Tensor]:
        """Every tensor of this part, trained or held fixed."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def baked(self, task: int) -> dict[str, Tensor]:
        """The tensors of one adapter by itself, as the part of the plain method has them."""
        own = self.per_adapter()
        return {name: tensor[task : task + 1] if name in own else tensor for name, tensor in self.held().items()}

    @torch.no_grad()
    def grow(self, like: Sequence[int]) -> None:
        """One adapter more on the axis, the mean of these."""
        for name in self.per_adapter():
            path, _, attribute = name.rpartition(".")
            owner, tensor = self.get_submodule(path), self.held()[name]
            grown = torch.cat([tensor, tensor[list(like)].mean(0, keepdim=True)])
            trains = isinstance(tensor, nn.Parameter)
            setattr(owner, attribute, nn.Parameter(grown, tensor.requires_grad) if trains else grown)

    def original(self) -> dict[str, Tensor] | None:
        """The backbone's tensors as they were, where this part writes them in place; else None."""
        return None


class AdaptersAtSites(Part):
    """Bottleneck adapters at the backbone's sites (where: Compacter, arXiv:2106.04647v2, §4.1), however made."""

    def __init__(self, sites: Sequence[Site], activation: Activation) -> None:
        super().__init__()
        self.sites = tuple(sites)
        self.activation: Activation = activation
        self.hosts: list[nn.Module] = []
        """The modules at the sites, once installed."""

    @abstractmethod
    def weights(self, rows: Rows) -> AdapterWeights:
        """The weights of all sites of the adapters that the rows use, (present, sites, …)."""

    def generate(self, rows: Rows) -> list[AdapterWeights]:
        """Each site's weights of the adapters that the rows use, all made in one contraction."""
        dtype = common_dtype([module._parameters.get("weight") for module in self.hosts])
        columns = [self.by_site(each(partial(cast, dtype), weight), rows) for weight in self.weights(rows)[:-1]]
        return [AdapterWeights(*site)._replace(rows=rows.index) for site in zip(*columns, strict=True)]

    def by_site(self, weight: Tensor | Factors | None, rows: Rows) -> Sequence[Any]:
        """Every site's own of what all of them have together."""
        if weight is None:
            return [None] * len(self.sites)
        if isinstance(weight, tuple):
            return list(zip(*(of_sites(factor, rows) for factor in weight), strict=True))
        return of_sites(weight, rows)

    def install(self, backbone: nn.Module, generated: Callable[[], list[AdapterWeights]]) -> list[Handle]:
        """A forward hook on the output of every site."""
        self.hosts = [backbone.get_submodule(site.module) for site in self.sites]
        return [
            module.register_forward_hook(partial(self.adapt, generated, index))
            for index, module in enumerate(self.hosts)
        ]

    def adapt(
        self,
        generated: Callable[[], list[AdapterWeights]],
        index: int,
        module: nn.Module,
        args: tuple[Any, ...],
        output: Float[Tensor, "*tokens d_model"] | tuple[Any, ...],
    ) -> Float[Tensor, "*tokens d_model"] | tuple[Any, ...]:
        """The hook: y -> A(y) + y, where y is what a module gives, or the first of several things."""
        if isinstance(output, tuple):  # a mixture of experts tells its routing too
            return (bottleneck_adapter(output[0], generated()[index], self.activation), *output[1:])
        return bottleneck_adapter(output, generated()[index], self.activation)


class SiteAdapters(AdaptersAtSites):
    """Adapters that own their weights, a set for every adapter on the axis."""

    def __init__(
        self,
        sites: Sequence[Site],
        matrices: AdapterMatrices,
        d_model: int,
        bottleneck: int,
        activation: Activation,
        adapters: int = 1,
        post_norms: int = 0,
    ) -> None:
        """`post_norms`: none, one that all adapters share, or one each."""
        super().__init__(sites, activation)
        self.matrices = matrices
        self.adapters = adapters
        self.down_bias = nn.Parameter(torch.zeros(adapters, len(sites), bottleneck))
        self.up_bias = nn.Parameter(torch.zeros(adapters, len(sites), d_model))
        ones = torch.ones(post_norms, len(sites), d_model)
        self.scale = nn.Parameter(POST_NORM_SCALE * ones) if post_norms else None
        self.shift = nn.Parameter(torch.zeros_like(ones)) if post_norms else None

    def kind(self, tensor: str) -> Kind:
        """Slow weights that all sites share are "shared", a norm's "norm", the rest is "adapter"."""
        if tensor in ("scale", "shift"):
            return "norm"
        return "shared" if tensor.startswith("matrices.slow.") else "adapter"

    def per_adapter(self) -> tuple[str, ...]:
        """All but a norm that the adapters share."""
        return tuple(name for name, tensor in self.held().items() if len(tensor) == self.adapters)

    def grow(self, like: Sequence[int]) -> None:
        """One adapter more."""
        super().grow(like)
        self.adapters += 1

    def weights(self, rows: Rows) -> AdapterWeights:
        """The matrices from one contraction, or where few rows share one what they are products of; and the vectors."""
        present = rows.present
        down, up = self.matrices.factors(present) if rows.differ else self.matrices(present)
        vectors = [selected(vector, present) for vector in (self.down_bias, self.up_bias)]
        norms = [None if v is None else self.norm_of(v, present) for v in (self.scale, self.shift)]
        return AdapterWeights(down, vectors[0], up, vectors[1], *norms)

    def norm_of(self, vector: Tensor, present: Present) -> Tensor:
        """A norm's vector of the adapters that are present, who may share it."""
        if len(vector) == self.adapters:
            return selected(vector, present)
        return vector if present is None else vector.expand(len(present), -1, -1)


def common_dtype(weights: Sequence[Tensor | None]) -> torch.dtype | None:
    """The type in which modules with these weights compute; None if they differ, or something else decides it."""
    found = {None if weight is None else weight.dtype for weight in weights}
    elsewhere = any(
        weight is not None and (weight.is_meta or is_quantized(weight) or torch.is_autocast_enabled(weight.device.type))
        for weight in weights
    )
    return None if elsewhere or len(found) != 1 else found.pop()


def cast(dtype: torch.dtype | None, tensor: Tensor) -> Tensor:
    """In this type, so that what is made of the tensor needs no cast of its own."""
    return tensor if dtype is None else tensor.to(dtype)


def of_sites(tensor: Float[Tensor, "adapters sites *rest"], rows: Rows) -> tuple[Tensor, ...]:
    """The tensor of every site: the only adapter's, or, with an axis of adapters, all that the rows use."""
    return only(tensor, rows).unbind(0 if rows.index is None else 1)


def only(tensor: Float[Tensor, "present ..."], rows: Rows) -> Tensor:
    """The only adapter's tensor, without the axis of adapters; where rows differ, that of all of them."""
    return tensor[0] if rows.index is None else tensor


class ByRow(NamedTuple):
    """One tensor of each of several adapters, and which of them each row of a batch uses."""

    tensor: Float[Tensor, "present ..."]
    rows: Int[Tensor, " rows"]


def by_rows(tensors: Iterable[Tensor], rows: Rows) -> list[Tensor | ByRow]:
    """Tensors that `only` or `of_sites` made: as they are, or, where rows differ, with each row's choice."""
    return [tensor if rows.index is None else ByRow(tensor, rows.index) for tensor in tensors]


def for_batch(value: Tensor | ByRow, output: Tensor) -> Tensor:
    """A vector that all rows of `output` share, or each row's own, shaped to meet it."""
    if not isinstance(value, ByRow):
        return value.type_as(output)
    own = per_row(value.tensor, value.rows, len(output)).type_as(output)
    return own.view(len(output), *(1 for _ in output.shape[2:]), -1)


class OwnedTensors(Part):
    """The Delta's own copies of some tensors of the backbone, used in their place.

    The backbone's tensors stay where they are and as they are: while one of the modules runs, its attribute is
    shadowed by the Delta's. This costs no operation, and `state_dict` does not see it. Tensors of one shape are
    slices of one parameter: `weight` holds those shaped as the first, `weight_16` those of width 16.
    """

    def __init__(
        self,
        kind: Kind,
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
        self.owned_kind: Kind = kind
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

    def kind(self, tensor: str) -> Kind:
        """The kind given at construction."""
        return self.owned_kind

    def generate(self, rows: Rows) -> list[Tensor | ByRow]:
        """The tensors of the adapters that the rows use, in order."""
        rows = rows if self.adapters > 1 else ONLY
        unbound = {
            name: of_sites(cast(self.type_of(name, rows), selected(tensor, rows.present)), rows)
            for name, tensor in self.named_parameters()
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

    def type_of(self, name: str, rows: Rows) -> torch.dtype | None:
        """The type of all that one parameter stands for, if it is one; where rows differ, the input's decides."""
        theirs = [owner._parameters[attribute] for owner, attribute in self.theirs.get(name, ())]
        return None if rows.index is not None else common_dtype(theirs)


def repeated(tensor: Float[Tensor, "..."], adapters: int) -> Float[Tensor, "adapters ..."]:
    """A copy for every adapter, made by a factory function: where shapes alone are built, it takes no memory."""
    return torch.empty(adapters, *tensor.shape, dtype=torch.float32).copy_(tensor)


class Tensors(Protocol):
    """Tensors by number; where rows differ, each row's own."""

    def __getitem__(self, index: int, /) -> Tensor | ByRow:
        """The tensor with this number."""


NEUTRAL = {"weight": torch.ones_like, "bias": torch.zeros_like}
"""What a parameter of a module of torch is where the hook after it applies each row's own."""


def scales_then_adds(module: nn.Module) -> bool:
    """Whether a module is known to give x ⊙ weight + bias, or W x + bias, and takes nothing else for a weight.

    A class of its own may mean something else by its weight, as the norms that scale by 1 + weight.
    """
    norm = type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward)
    return norm or isinstance(module, nn.Linear | Conv1D | nn.modules.conv._ConvNd)


def shadow(
    module: nn.Module,
    attribute: str,
    generated: Callable[[], Tensors],
    index: int,
    during: nn.Module | None = None,
) -> tuple[Handle, ...]:
    """Let a module compute with `generated()[index]` in place of one of its parameters.

    Python finds an instance attribute before a registered parameter of the same name. It is there while the module
    runs, or while `during` does, which may read the parameter without calling the module.

    Where rows differ, a module computes by its own formula with a vector for each row, broadcast over the row's
    tokens. Those of torch take no such vector: they compute with ones for a scale and zeros for a bias, and each
    row's own is applied to the output, a linear layer's matrix to the input.

    Raises, when the module runs:
        InputError: rows differ, and its input is not one for every row.
    """
    running = during or module
    return (
        running.register_forward_pre_hook(partial(_cover, module, attribute, generated, index)),
        running.register_forward_hook(partial(_uncover, module, attribute), always_call=True),
        Uncover(module, attribute),
    )


def _cover(
    module: nn.Module,
    attribute: str,
    generated: Callable[[], Tensors],
    index: int,
    running: nn.Module,
    args: tuple[Any, ...],
) -> None:
    theirs, ours = module._parameters[attribute], generated()[index]
    assert theirs is not None
    module.__dict__.pop(f"{attribute} by row", None)
    if not isinstance(ours, ByRow):
        put_over(module, attribute, ours.to(theirs.dtype) if theirs.is_meta else ours.type_as(theirs))
        return
    if isinstance(args[0], nn.Parameter):
        raise not_by_row(f"a parameter, {tuple(args[0].shape)}")
    check_by_row(len(args[0]), ours.rows)
    if scales_then_adds(module):
        put_over(module, attribute, NEUTRAL[attribute](theirs, device=args[0].device if theirs.is_meta else None))
        object.__setattr__(module, f"{attribute} by row", ours)
    else:
        put_over(module, attribute, for_batch(ours, args[0]).to(theirs.dtype))


COVERS = "hyperadapters covers"
"""The attribute of an offloaded module that holds what its next pass shall compute with, by parameter."""


def put_over(module: nn.Module, attribute: str, value: Tensor) -> None:
    """Let an instance attribute stand before a parameter; in an offloaded module, once its parameters were fetched."""
    parameter = module._parameters[attribute]
    assert parameter is not None
    if not (parameter.is_meta and has_offloaded_params(module)):
        object.__setattr__(module, attribute, value)
        return
    if COVERS not in module.__dict__:
        object.__setattr__(module, COVERS, {})
        module.__dict__["_old_forward"] = partial(_covered, module, module.__dict__["_old_forward"])
    module.__dict__[COVERS][attribute] = value


def _covered(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The forward pass of an offloaded module, which accelerate calls between fetching and dropping its parameters."""
    module.__dict__["_old_forward"] = forward
    values = module.__dict__.pop(COVERS)
    module.__dict__.update(values)
    try:
        return forward(*args, **kwargs)
    finally:
        for attribute in values:
            module.__dict__.pop(attribute, None)


def _uncover(
    module: nn.Module, attribute: str, running: nn.Module, args: tuple[Any, ...], output: Tensor | None
) -> Tensor | None:
    module.__dict__.pop(attribute, None)
    ours: ByRow | None = module.__dict__.pop(f"{attribute} by row", None)
    if ours is None or output is None:  # checkpointing cuts a layer's second pass short where it needs no more of it
        return None
    if ours.tensor.dim() == 3:  # a matrix for every row: what the module made of ones is not used
        matrices = per_row(ours.tensor, ours.rows, len(output)).type_as(output)
        return torch.einsum("b...i,boi->b...o", args[0].type_as(output), matrices)
    if isinstance(module, nn.modules.conv._ConvNd):  # its channels are the second axis
        return (output.movedim(1, -1) + for_batch(ours, output.movedim(1, -1))).movedim(-1, 1)
    return output * for_batch(ours, output) if attribute == "weight" else output + for_batch(ours, output)


class Uncover:
    """Clears a shadow that a pass cut short by Ctrl-C may have left."""

    def __init__(self, module: nn.Module, attribute: str) -> None:
        self.module, self.attribute = module, attribute

    def remove(self) -> None:
        """Let the module see its own parameter again."""
        self.module.__dict__.pop(self.attribute, None)
        self.module.__dict__.pop(f"{self.attribute} by row", None)


def owned_norms(backbone: nn.Module, anatomy: Anatomy, adapters: int = 1) -> OwnedTensors:
    """All of a backbone's layer norms, weights and biases."""
    paths = [f"{path}.{attribute}" for path in anatomy.norms for attribute in vectors(backbone.get_submodule(path))]
    return OwnedTensors("norm", backbone, [(path,) for path in paths], adapters=adapters)


class Head(OwnedTensors):
    """The Delta's own task head. While it is in use the backbone knows how many logits there are, as its loss asks."""

    def install(self, backbone: nn.Module, generated: Callable[[], Sequence[Tensor | ByRow]]) -> list[Handle]:
        """Hooks around the head's modules, and the number of its logits."""
        return [*super().install(backbone, generated), Logits(backbone, self.shapes[-1][0])]


class Logits:
    """How many logits a backbone says it has, until it is taken back."""

    def __init__(self, backbone: nn.Module, number: int) -> None:
        config: Any = backbone.config
        self.config, self.backbone = config, backbone
        self.before = {name: getattr(config, name, None) for name in ("id2label", "label2id", "problem_type")}
        self.theirs = config.num_labels
        self.say(number)
        if number != self.theirs:
            config.problem_type = None

    def say(self, number: int) -> None:
        """Write the number where a model reads it."""
        self.config.num_labels = number
        if "num_labels" in vars(self.backbone):
            self.backbone.num_labels = number  # type: ignore[assignment]

    def remove(self) -> None:
        """What the backbone said before."""
        self.say(self.theirs)
        for name, value in self.before.items():
            setattr(self.config, name, value)


def owned_head(backbone: nn.Module, anatomy: Anatomy, outputs: int | None, adapters: int = 1) -> Head:
    """A classification or regression head with `outputs` logits, or None: as the backbone's own, with its values.

    With a number given, the last layer is drawn anew, N(0, initializer_range²) with biases of zero, as transformers
    draws it; what stands before it starts from the backbone's values.
    """
    values: dict[str, Tensor] = {}
    if outputs is not None:
        last, _, _ = anatomy.head[-1].rpartition(".")
        width = backbone.get_parameter(f"{last}.weight").shape[1]
        std = getattr(backbone.config, "initializer_range", 0.02)
        values = {f"{last}.weight": torch.randn(outputs, width) * std, f"{last}.bias": torch.zeros(outputs)}
    return Head("head", backbone, [(path,) for path in anatomy.head], values, adapters)


class WholeBackbone(Part):
    """Full fine-tuning: every parameter of the backbone trains in place; what it was is kept in host memory."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.parked = {name: _host_copy(tensor) for name, tensor in own_parameters(backbone).items()}
        self.installed = False

    def kind(self, tensor: str) -> Kind:
        """All of it is the backbone."""
        return "backbone"

    def generate(self, rows: Rows) -> None:
        """Nothing: the backbone computes with its own tensors."""

    def install(self, backbone: nn.Module, generated: Callable[[], Any]) -> list[Handle]:
        """Put the trained values in the backbone, and the original ones aside."""
        self.exchange(backbone)
        self.installed = True
        return [Restore(self, backbone)]

    @torch.no_grad()
    def exchange(self, backbone: nn.Module) -> None:
        """Swap the parked values with the backbone's."""
        for name, parameter in own_parameters(backbone).items():
            other = self.parked[name]
            self.parked[name] = _host_copy(parameter)
            parameter.copy_(other)

    def trained(self, backbone: nn.Module) -> dict[str, nn.Parameter]:
        """Every parameter of the backbone, a tied one once."""
        return own_parameters(backbone)

    def values(self, backbone: nn.Module) -> Mapping[str, Tensor]:
        """The trained values: in place, or parked while the Delta rests."""
        return own_parameters(backbone) if self.installed else self.parked

    def original(self) -> dict[str, Tensor] | None:
        """The values before training, while the trained ones are in place."""
        return self.parked if self.installed else None


def _host_copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone() if tensor.is_meta else tensor.detach().to("cpu", copy=True)


class Restore:
    """Takes full fine-tuning out of a backbone again."""

    def __init__(self, part: WholeBackbone, backbone: nn.Module) -> None:
        self.part, self.backbone = part, backbone

    def remove(self) -> None:
        """Swap back."""
        self.part.exchange(self.backbone)
        self.part.installed = False
