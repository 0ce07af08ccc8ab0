"""The ladder of `SideAdapter` as a part of a Delta: what its rungs read and compute, and who holds its tensors."""

import inspect
import weakref
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters._utils import InputError, PerThread
from hyperadapters.backbones import ModelStructure, Stack, module_at
from hyperadapters.delta import Handle, ParameterKind, Part, Place
from hyperadapters.layers import (
    PROJECTED,
    AdapterIndex,
    Present,
    RungWeights,
    SharedGenerator,
    Written,
    add_product,
    climb,
    normal,
    normalized,
    read_memory,
    selected,
)

if TYPE_CHECKING:
    from hyperadapters.methods.side import HyperSideAdapter, SideAdapter, _LadderMethod


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


class _LadderPart(Part):
    """A ladder beside one stack: a rung beside each of its layers, and an up-projection into the last layer's output.

    Beside an encoder every rung attends to the ladder's own states at all tokens; beside a decoder above an encoder, to
    a projection of the encoder's last states; beside a decoder alone to nothing, as its states have read what is
    before them. What a rung computes at a place thus depends on nothing that a cache would have to keep.

    Args:
        method: the sizes.
        structure: of the backbone.
        layers: paths of the layers that are read, the lowest first; the last one's output is changed.
    """

    def __init__(self, method: "_LadderMethod", structure: ModelStructure, layers: Sequence[str]) -> None:
        super().__init__()
        self.layers, self.activation = tuple(layers), method.activation
        self.entry = structure.entries[_stack_beside(structure)]
        self.kind_of_backbone = structure.kind
        self.heads = method.heads if structure.kind != "decoder" else 0
        self.pass_of_thread = _PassOfThread()

    @property
    def downs(self) -> int:
        """The number of down-projections: one for each rung, and beside a decoder above an encoder one more."""
        return len(self.layers) + (self.kind_of_backbone == "encoder-decoder")

    @property
    def of_rungs(self) -> tuple[str, ...]:
        """The names of what each rung has besides its down-projection."""
        return ("down_bias", "gate", *(("query", "key", "value", "mix") if self.heads else ()))

    @abstractmethod
    def written(self, present: Present) -> dict[str, Tensor]:
        """Return what the adapters compute with: `down`, (present, downs, d_model, bottleneck), `up`, `up_bias`, and of
        every rung what `of_rungs` names, (present, rungs, …).

        Args:
            present: numbers of the adapters; None: all.
        """

    def generate(self, rows: AdapterIndex) -> list[Any]:
        """Compute each rung's weights for the adapters that the rows use, with the rows' choice among them.

        Returns:
            A pair for each rung; beside a decoder above an encoder, one more for the projection of the encoder's
            states.
        """
        alone = rows.index is None
        written = self.written(rows.present)

        def own(tensor: Tensor) -> list[Tensor]:
            return list((tensor[0] if alone else tensor).unbind(0 if alone else 1))

        columns = {name: own(written[name]) for name in ("down", *self.of_rungs)}
        count = len(self.layers)
        found: list[Any] = [
            (RungWeights(**{name: column[rung] for name, column in columns.items()}), rows.index)
            for rung in range(count)
        ]
        up, up_bias = (written[name][0] if alone else written[name] for name in ("up", "up_bias"))
        last, _ = found[-1]
        found[-1] = last._replace(up=up, up_bias=up_bias), rows.index
        return [*found, (columns["down"][count], rows.index)] if self.downs > count else found

    def reads(self) -> tuple[str, ...]:
        """Return the paths of the layers beside the rungs."""
        return self.layers

    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Register a pre-hook on the stack, and a hook on each of the layers."""
        entry = module_at(backbone, self.entry)
        begin = partial(self.begin, tuple(inspect.signature(entry.forward).parameters))
        handles: list[Handle] = [entry.register_forward_pre_hook(begin, with_kwargs=True)]
        read = place(len(self.layers)) if self.kind_of_backbone == "encoder-decoder" else None
        for rung, path in enumerate(self.layers):
            hook = partial(self.climb, place(rung), read if rung == 0 else None)
            handles.append(module_at(backbone, path).register_forward_hook(hook))
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


class _Ladder(_LadderPart):
    """A ladder whose tensors train.

    Args:
        method: the sizes, and how the projections are parametrised.
        structure: of the backbone.
        layers: as for every ladder.
        adapters: length of the adapter axis, one entry per task.
    """

    def __init__(self, method: "SideAdapter", structure: ModelStructure, layers: Sequence[str], adapters: int) -> None:
        super().__init__(method, structure, layers)
        rungs, width = len(layers), method.bottleneck
        self.matrices = method.projections.matrices(adapters, self.downs, structure.d_model, width)
        self.down_bias = nn.Parameter(torch.zeros(adapters, rungs, width))
        self.gate = nn.Parameter(torch.zeros(adapters, rungs, 1))
        if self.heads:
            self.query, self.key, self.value = (
                normal(adapters, rungs, width, width, std=width**-0.5) for _ in range(3)
            )
            self.mix = normal(adapters, rungs, width, width, std=0.1 * width**-0.5)
        self.up_bias = nn.Parameter(torch.zeros(adapters, structure.d_model))

    def kind(self, tensor: str) -> ParameterKind:
        """Return "shared" for slow weights that all projections share, else "adapter"."""
        return "shared" if tensor.startswith("matrices.slow.") else "adapter"

    def written(self, present: Present) -> dict[str, Tensor]:
        """Return what the adapters compute with."""
        down, up = self.matrices(present)
        held = dict(self.named_parameters(recurse=False))
        own = {name: selected(held[name], present) for name in (*self.of_rungs, "up_bias")}
        return {"down": down, "up": up.squeeze(1), **own}


class _HyperLadder(_LadderPart):
    """A ladder that a hypernetwork writes from the task's embedding, and for each rung from the rung's.

    Args:
        method: the sizes.
        structure: of the backbone.
        layers: as for every ladder.
        tasks: number of tasks, each with a trained embedding.
    """

    def __init__(
        self, method: "HyperSideAdapter", structure: ModelStructure, layers: Sequence[str], tasks: int
    ) -> None:
        super().__init__(method, structure, layers)
        d_model, width = structure.d_model, method.bottleneck
        shapes = {"down": (d_model, width), "down_bias": (width,), "gate": (1,)}
        shapes |= dict.fromkeys(self.of_rungs[2:], (width, width))
        spreads = dict.fromkeys(("query", "key", "value"), width**-0.5) | {"mix": 0.1 * width**-0.5}
        rung = {name: _written(shape, spreads.get(name, 0.01)) for name, shape in shapes.items()}
        end = {"up": _written((width, d_model), 0.01), "up_bias": _written((d_model,), 0.01)}
        numbers = list(range(self.downs))
        self.tasks = normal(tasks, PROJECTED, std=1.0)
        self.rungs = SharedGenerator(PROJECTED, numbers, [0] * self.downs, rung, project=True)
        self.end = SharedGenerator(PROJECTED, [0], [0], end, project=True)

    def kind(self, tensor: str) -> ParameterKind:
        """Return "adapter" for task embeddings, "shared" for the hypernetworks."""
        return "adapter" if tensor == "tasks" else "shared"

    def per_adapter(self) -> tuple[str, ...]:
        """Return the name of the task embeddings; tasks share everything else."""
        return ("tasks",)

    def written(self, present: Present) -> dict[str, Tensor]:
        """Generate what the adapters compute with."""
        embeddings = selected(self.tasks, present)
        found: dict[str, Tensor] = self.rungs(embeddings)
        end: dict[str, Tensor] = self.end(embeddings)
        count = len(self.layers)
        own = {name: found[name][:, :count] for name in self.of_rungs}
        return {"down": found["down"], **own, **{name: tensor[:, 0] for name, tensor in end.items()}}

    def baked(self, task: int) -> dict[str, Tensor]:
        """Generate one task's tensors, with the names and shapes that a ladder of its own has for them."""
        written = self.written(torch.tensor([task], device=self.tasks.device))
        return {
            "matrices.down": written.pop("down"),
            "matrices.up": written.pop("up").unsqueeze(1),
            **written,
        }


def _written(shape: tuple[int, ...], std: float) -> Written:
    """Return a tensor to generate whose numbers begin with this standard deviation.

    The embedding that the generator reads is normalised, so that its squared length is its width.
    """
    return Written(shape, std * PROJECTED**-0.5)


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
