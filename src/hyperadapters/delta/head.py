"""The Delta's own task head, for classification or regression."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperadapters.backbones import ModelStructure, module_at, pool_states
from hyperadapters.delta.by_row import ByRow, by_rows, for_batch, only
from hyperadapters.delta.owned_tensors import OwnedTensors, _places
from hyperadapters.delta.part import Handle, Place
from hyperadapters.layers import AdapterIndex, selected


class _Head(OwnedTensors):
    """The Delta's own task head; each task's may have another number of outputs.

    The last layers are padded with zeros to the widest. Padded logits are -inf, so that no class there is ever the
    likeliest, its probability is 0, and no gradient reaches the padding.

    While the Delta is in use, the backbone's configuration states the widest head's number of logits, because its loss
    reads it there.

    Args:
        backbone: a model with a task head.
        structure: of the backbone.
        sizes: the number of outputs of each adapter's head, as many as there are adapters; None: the whole head is a
            copy of the backbone's.
        adapters: length of the adapter axis.
    """

    def __init__(
        self, backbone: nn.Module, structure: ModelStructure, sizes: Sequence[int] | None, adapters: int = 1
    ) -> None:
        values = {} if sizes is None else _fresh_layer(backbone, structure, max(sizes))
        super().__init__("head", backbone, [(path,) for path in structure.head], values, adapters)
        self.pooling = structure.pooling
        """What the head reads."""
        last = structure.head[-1].rpartition(".")[0]
        self.last = [i for i, path in enumerate(structure.head) if path.rpartition(".")[0] == last]
        """The numbers of the last layer's tensors, whose first axis is that of the outputs."""
        self.sizes = [self.outputs] * adapters if sizes is None else [*sizes]
        """The number of outputs of each adapter's head."""
        self.padded = min(self.sizes) < self.outputs
        """Whether any head is padded, or has been."""
        self._padding = torch.empty(0)
        """Zero for the outputs that each adapter has, -inf for the others; made by `install`."""
        with torch.no_grad():
            for number in self.last:
                for adapter, size in enumerate(self.sizes if self.padded else ()):
                    self.entries(number)[adapter, size:] = 0

    @property
    def outputs(self) -> int:
        """The number of logits: that of the widest head."""
        return self.shapes[-1][0]

    def entries(self, number: int) -> Float[Tensor, "adapters ..."]:
        """Return one of the head's tensors, of all adapters, by its number in `tensors`."""
        name, row = self.places[number]
        together: Tensor = getattr(self, name)  # a parameter, or what stands in front of it (`_TaskEntry`)
        return together[:, row]

    def padding(self, tensor: str, adapter: int | None = None) -> int:
        """Return how many numbers of a tensor are padding."""
        sizes = self.sizes if adapter is None else [self.sizes[adapter]]
        missing = sum(self.outputs - size for size in sizes) if self.padded else 0
        return sum(
            missing * math.prod(self.shapes[number][1:]) for number in self.last if self.places[number][0] == tensor
        )

    def generate(self, rows: AdapterIndex) -> list[Any]:
        """Return the tensors of the adapters that the rows use and, where heads are padded, what masks the padding."""
        found: list[Any] = super().generate(rows)
        if not self.padded:
            return [*found, None]
        device = self.entries(self.last[0]).device
        if self._padding.device != device:
            self._padding = self._padding.to(device)
        return [*found, *by_rows([only(selected(self._padding, rows.present), rows)], rows)]

    def install(self, backbone: nn.Module, place: Place) -> list[Handle]:
        """Register hooks around the head's modules and on what they read, and set the backbone's number of logits."""
        handles = [*super().install(backbone, place), *pool_states(backbone, self.pooling)]
        if self.adapters > 1:
            self._padding = self._make_padding()
            last = module_at(backbone, self.tensors[-1][0].rpartition(".")[0])
            handles.append(last.register_forward_hook(partial(_mask_padding, place(len(self.tensors)))))
        return [*handles, _Logits(backbone, self.outputs)]

    @torch.inference_mode(False)
    def _make_padding(self) -> Float[Tensor, "adapters outputs"]:
        device = self.entries(self.last[0]).device
        sizes = torch.tensor(self.sizes, device=device).unsqueeze(-1)
        others = torch.arange(self.outputs, device=device) >= sizes
        return torch.zeros(others.shape, device=device).masked_fill(others, -math.inf)

    def size_of(self, adapter: int) -> int:
        """Return the number of outputs of an adapter's head, which may be the one that all share."""
        return self.sizes[adapter if self.adapters > 1 else 0]

    def set_size(self, adapter: int, size: int) -> None:
        """Say how many outputs an adapter's head has, whose padded tensors another one has left its place to.

        Args:
            adapter: its number.
            size: at most `outputs`.
        """
        self.padded = self.padded or size < self.outputs
        if self.sizes[adapter] == size:
            return
        self.sizes[adapter] = size
        if len(self._padding):
            self._padding[adapter, :size], self._padding[adapter, size:] = 0.0, -math.inf

    def grow(self, like: Sequence[int]) -> None:
        """Append one adapter, the mean of those numbered in `like`, all of one size, unless all share one head."""
        if self.adapters > 1:
            super().grow(like)
            self.sizes.append(self.sizes[like[0]])

    def baked(self, task: int) -> dict[str, Tensor]:
        """Return the tensors of one adapter's head without padding, as a head of its size alone has them."""
        task = task if self.adapters > 1 else 0
        size = self.sizes[task]
        found = [
            self.entries(number)[task : task + 1, : size if number in self.last else None]
            for number in range(len(self.tensors))
        ]
        together: dict[str, list[Tensor]] = {}
        for (name, _), tensor in zip(_places([tuple(own.shape[1:]) for own in found]), found, strict=True):
            together.setdefault(name, []).append(tensor)
        return {name: torch.stack(tensors, 1) for name, tensors in together.items()}

    def padded_to_widest(self, tensors: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
        """Return the tensors of a head of fewer outputs, padded with zeros to this one's: the reverse of `baked`.

        Args:
            tensors: as that head alone has them, by name.
            size: its number of outputs.
        """
        shapes = [(size, *shape[1:]) if i in self.last else shape for i, shape in enumerate(self.shapes)]
        together: dict[str, list[Tensor]] = {}
        for number, (theirs, row) in enumerate(_places(shapes)):
            own = tensors[theirs][:, row]
            missing = own.new_zeros(1, self.outputs - size, *own.shape[2:]) if number in self.last else own[:, :0]
            together.setdefault(self.places[number][0], []).append(torch.cat([own, missing], 1))
        return {name: torch.stack(found, 1) for name, found in together.items()}

    @torch.no_grad()
    def resized(
        self, backbone: nn.Module, structure: ModelStructure, sizes: Sequence[int], sources: Sequence[Sequence[int]]
    ) -> "_Head":
        """Return a head of other sizes, whose values are this one's.

        Args:
            backbone: the model that it is for.
            structure: of the backbone.
            sizes: the number of outputs of each adapter's new head.
            sources: for each of them, the numbers of the adapters whose mean it starts from. Of the last layer, those
                with as many outputs count; where there are none, it is drawn anew.
        """
        new = _Head(backbone, structure, sizes, len(sizes)).to(self.get_parameter("weight")).train(self.training)
        for adapter, (size, like) in enumerate(zip(sizes, sources, strict=True)):
            alike = [other for other in like if self.sizes[other] == size]
            for number in range(len(self.tensors)):
                last = number in self.last
                if found := alike if last else like:
                    own, end = self.entries(number)[[*found]].mean(0), size if last else None
                    new.entries(number)[adapter, :end] = own[:end]
        return new


def _mask_padding(
    padding: Callable[[], Tensor | ByRow | None], module: nn.Module, args: tuple[Any, ...], output: Tensor
) -> Tensor | None:
    """Make padded logits -inf (a forward hook of the head's last layer).

    Args:
        padding: returns what to add to the logits of each row; None: no head is padded.
        module: the layer.
        args: its input.
        output: the logits.
    """
    ours = padding()
    return None if ours is None else output + for_batch(ours, output)


def _fresh_layer(backbone: nn.Module, structure: ModelStructure, outputs: int) -> dict[str, Tensor]:
    """Return new values of a head's last layer, as transformers initialises it.

    Args:
        backbone: a model with a task head.
        structure: of the backbone.
        outputs: number of logits.

    Returns:
        Weights from N(0, initializer_range²) and biases of zero, by path.
    """
    last, _, _ = structure.head[-1].rpartition(".")
    width = backbone.get_parameter(f"{last}.weight").shape[1]
    std = getattr(backbone.config, "initializer_range", 0.02)
    return {f"{last}.weight": torch.randn(outputs, width) * std, f"{last}.bias": torch.zeros(outputs)}


class _Logits:
    """Sets the number of logits in a backbone's configuration, until `remove` restores the previous one."""

    def __init__(self, backbone: nn.Module, number: int) -> None:
        config: Any = backbone.config
        self.config, self.backbone = config, backbone
        self.before = {name: getattr(config, name, None) for name in ("id2label", "label2id", "problem_type")}
        self.theirs = config.num_labels
        self._say(number)
        if number != self.theirs:
            self.config.problem_type = None

    def _say(self, number: int) -> None:
        self.config.num_labels = number
        if "num_labels" in vars(self.backbone):
            self.backbone.num_labels = number  # type: ignore[assignment]

    def remove(self) -> None:
        """Restore the backbone's own configuration."""
        self._say(self.theirs)
        for name, value in self.before.items():
            setattr(self.config, name, value)
