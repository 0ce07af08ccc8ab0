"""Adapters beside the backbone: a ladder that reads its frozen states (Sung et al., arXiv:2206.06522v2, §3).

No gradient enters the backbone: a training step costs one forward pass of it and the ladder, and with `training.reuse`
the ladder alone.
"""

import inspect
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError, PerThread, settings
from hyperadapters.backbones import ModelStructure, Stack, blocks_of
from hyperadapters.delta import Handle, Method, ParameterKind, Part, Place
from hyperadapters.layers import (
    PHM,
    Activation,
    AdapterIndex,
    AdapterMatrices,
    Dense,
    LowRank,
    LowRankPHM,
    RungWeights,
    add_product,
    climb,
    normal,
    normalized,
    read_memory,
    selected,
)
from hyperadapters.methods.adapters import _check_divides, _check_rank


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


class _PassOfThread(PerThread):
    """The pass that a thread computes."""

    def __init__(self) -> None:
        self.state: Tensor | None = None
        """The ladder's, above the rungs that were climbed."""
        self.mask: Tensor | None = None
        """Of the tokens that rungs may attend to."""
        self.source: Tensor | None = None
        """The encoder's last states, beside a decoder above it."""
        self.memory: Tensor | None = None
        """What the rungs read of them."""
        self.seen: dict[nn.Module, tuple[weakref.ref[Tensor], Tensor]] = {}
        """By layer, its output, normalised: where states are kept, other adapters read the same."""

    def normalized(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """Return a layer's output with mean 0 and variance 1 at every place, computed once as long as it is kept."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return normalized(hidden)
        known = self.seen.get(layer)
        if known is None or known[0]() is not hidden:
            gone = partial(_drop, self.seen, layer)
            self.seen[layer] = known = weakref.ref(hidden, gone), normalized(hidden)
        return known[1]


def _drop(seen: "dict[nn.Module, tuple[weakref.ref[Tensor], Tensor]]", layer: nn.Module, of: Any) -> None:
    """Forget what was computed of a tensor that is gone, unless the layer has returned another since."""
    if layer in seen and seen[layer][0] is of:
        del seen[layer]


class _Ladder(Part):
    """A ladder beside one stack: a rung beside each of its layers, and an up-projection into the last layer's output.

    Beside an encoder every rung attends to the ladder's own states at all tokens; beside a decoder above an encoder, to
    a projection of the encoder's last states; beside a decoder alone to nothing, as its states have read what is
    before them. What a rung computes at a place thus depends on nothing that a cache would have to keep.

    Args:
        method: the sizes.
        structure: of the backbone.
        layers: paths of the layers that are read, the lowest first; the last one's output is changed.
        adapters: length of the adapter axis, one entry per task.
    """

    def __init__(self, method: "SideAdapter", structure: ModelStructure, layers: Sequence[str], adapters: int) -> None:
        super().__init__()
        self.layers, self.activation = tuple(layers), method.activation
        self.entry = structure.entries[_stack_beside(structure)]
        self.kind_of_backbone = structure.kind
        self.heads = method.heads if structure.kind != "decoder" else 0
        rungs, width = len(layers), method.bottleneck
        from_encoder = structure.kind == "encoder-decoder"
        self.matrices = method.projections.matrices(adapters, rungs + from_encoder, structure.d_model, width)
        self.down_bias = nn.Parameter(torch.zeros(adapters, rungs, width))
        self.gate = nn.Parameter(torch.zeros(adapters, rungs, 1))
        if self.heads:
            self.query, self.key, self.value = (
                normal(adapters, rungs, width, width, std=width**-0.5) for _ in range(3)
            )
            self.mix = normal(adapters, rungs, width, width, std=0.1 * width**-0.5)
        self.up_bias = nn.Parameter(torch.zeros(adapters, structure.d_model))
        self.pass_of_thread = _PassOfThread()

    def kind(self, tensor: str) -> ParameterKind:
        """Return "shared" for slow weights that all projections share, else "adapter"."""
        return "shared" if tensor.startswith("matrices.slow.") else "adapter"

    def reads(self) -> tuple[str, ...]:
        """Return the paths of the layers beside the rungs."""
        return self.layers

    def generate(self, rows: AdapterIndex) -> list[Any]:
        """Compute each rung's weights for the adapters that the rows use, with the rows' choice among them.

        Returns:
            A pair for each rung; beside a decoder above an encoder, one more for the projection of the encoder's
            states.
        """
        present, alone = rows.present, rows.index is None
        down, up = self.matrices(present)

        def own(tensor: Tensor) -> list[Tensor]:
            return list((tensor[0] if alone else tensor).unbind(0 if alone else 1))

        names = ("down_bias", "gate", *(("query", "key", "value", "mix") if self.heads else ()))
        columns = {name: own(selected(getattr(self, name), present)) for name in names}
        columns["down"] = own(down)
        count = len(self.layers)
        found: list[Any] = [
            (RungWeights(**{name: column[rung] for name, column in columns.items()}), rows.index)
            for rung in range(count)
        ]
        up_bias = selected(self.up_bias, present)
        last, _ = found[-1]
        found[-1] = last._replace(up=own(up)[0], up_bias=up_bias[0] if alone else up_bias), rows.index
        return [*found, (columns["down"][count], rows.index)] if len(columns["down"]) > count else found

    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Register a pre-hook on the stack, and a hook on each of the layers."""
        entry = backbone.get_submodule(self.entry)
        begin = partial(self.begin, tuple(inspect.signature(entry.forward).parameters))
        handles: list[Handle] = [entry.register_forward_pre_hook(begin, with_kwargs=True)]
        read = place(len(self.layers)) if self.kind_of_backbone == "encoder-decoder" else None
        for rung, path in enumerate(self.layers):
            hook = partial(self.climb, place(rung), read if rung == 0 else None)
            handles.append(backbone.get_submodule(path).register_forward_hook(hook))
        return handles

    def begin(self, names: Sequence[str], stack: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Begin a pass: note what rungs may attend to (a pre-hook of the stack)."""
        given, now = {**dict(zip(names, args, strict=False)), **kwargs}, self.pass_of_thread
        now.state = now.memory = now.mask = now.source = None
        if self.kind_of_backbone == "encoder":
            now.mask = _as_mask(given.get("attention_mask"))
        elif self.kind_of_backbone == "encoder-decoder":
            now.source = given.get("encoder_hidden_states")
            now.mask = _as_mask(given.get("encoder_attention_mask"))

    def climb(
        self,
        weights: Callable[[], tuple[RungWeights, Any]],
        memory: Callable[[], tuple[Tensor, Any]] | None,
        layer: nn.Module,
        args: tuple[Any, ...],
        output: Float[Tensor, "batch seq d_model"] | tuple[Any, ...],
    ) -> Float[Tensor, "batch seq d_model"] | tuple[Any, ...] | None:
        """Compute the ladder's state beside a layer; add it to the output of the last one (a hook of each layer)."""
        hidden = output[0] if isinstance(output, tuple) else output
        found, index = weights()
        own, now = found.for_rows(index, hidden), self.pass_of_thread
        if memory is not None:
            if now.source is None:
                raise InputError("the ladder beside this decoder reads its encoder's states: call the whole model.")
            down, _ = memory()
            now.memory = read_memory(now.source, _for_source(down, index, now.source))
        now.state = climb(
            now.state, now.normalized(layer, hidden), own, self.activation, self.heads, now.memory, now.mask
        )
        if own.up is None or own.up_bias is None:
            return None
        changed = hidden + add_product(own.up_bias, now.state, own.up).view(hidden.shape)
        now.state = now.memory = now.source = None
        return (changed, *output[1:]) if isinstance(output, tuple) else changed


def _for_source(down: Tensor, index: Tensor | None, source: Tensor) -> Tensor:
    """Return the projection of the encoder's states in their dtype, shared or that of each run of rows."""
    own = down.type_as(source)
    return own if index is None else own.index_select(0, index)


def _as_mask(mask: Any) -> Tensor | None:
    """Return a mask of tokens as attention takes it.

    Raises:
        InputError: it is not of shape (rows, tokens).
    """
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        raise InputError("a ladder beside the backbone needs an attention mask of shape (rows, tokens), or none.")
    return mask[:, None, None, :].bool()


def _stack_beside(structure: ModelStructure) -> Stack:
    """Return the stack that the ladder stands beside: the last one."""
    return structure.stacks[-1]


@dataclass(frozen=True, kw_only=True)
class SideAdapter(Method):
    """A ladder beside the backbone: rungs read its frozen states, and one projection adds to the last of them.

    Ladder side tuning, arXiv:2206.06522v2, §3, with projections in any of our parametrisations. Beside an
    encoder-decoder it stands at the decoder and reads the encoder's last states.
    """

    learning_rate: ClassVar[float] = 1e-3
    many_tasks: ClassVar[bool] = True

    projections: Projections = field(default_factory=DenseProjections, metadata=settings.one_of(_PROJECTIONS))
    """How the projections between backbone and ladder are parametrised."""
    bottleneck: int = 32
    """Width of the ladder."""
    heads: int = 1
    """Heads of each rung's attention; they divide the bottleneck. Beside a decoder alone there is no attention."""
    first_layer: int = 0
    """The lowest layer with a rung, from 0. The top layer always has one."""
    activation: Activation = "relu"
    """The non-linearity of what a rung reads."""

    @property
    def separable(self) -> bool:
        """Whether tasks share no tensor: they share none."""
        return True

    def check(self, structure: ModelStructure) -> None:
        """Raise InputError if a width is out of range, or n or the heads do not divide it."""
        name = type(self).__name__
        if self.bottleneck < 1 or self.heads < 1 or self.bottleneck % max(1, self.heads):
            raise InputError(
                f"{name}(bottleneck={self.bottleneck}, heads={self.heads}): both are 1 or more, and the heads divide "
                "the bottleneck."
            )
        if self.first_layer < 0:
            raise InputError(f"{name}(first_layer={self.first_layer}): layers count from 0. Use 0 or more.")
        self.projections.check(structure.d_model, self.bottleneck)

    def build(self, backbone: nn.Module, structure: ModelStructure, tasks: int) -> dict[str, Part]:
        """Build the ladder.

        Raises:
            InputError: the layers of the backbone are not known.
        """
        layers = blocks_of(backbone, structure)[_stack_beside(structure)]
        kept = layers[min(self.first_layer, len(layers) - 1) :]
        return {"ladder": _Ladder(self, structure, kept, tasks)}


PRESETS: dict[str, Method] = {
    "side": SideAdapter(),
    "side-compacter": SideAdapter(projections=CompacterProjections()),
}
