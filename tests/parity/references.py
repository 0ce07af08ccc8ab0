"""For every preset, the T5 that its paper describes, made from the tensors that a Delta trains.

A reference knows the names of a Delta's tensors, and calls no code of the library but for the random parts of
Intrinsic-SAID's projections, which no equation gives.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from equations import (
    ACTIVATIONS,
    adapter,
    conditional_norm,
    fastfood,
    kronecker_sum,
    low_rank_kronecker_sum,
    projector,
    standardized,
)
from plain_t5 import STACKS, SUBLAYERS, Place, PlainT5
from torch import Tensor

from hyperadapters.layers.fastfood import _normals, _permutation, _signs, projection_key


@dataclass(frozen=True)
class Given:
    """What a reference is made from."""

    method: Any
    """The fields of the method."""
    config: Any
    """The sizes of the T5."""
    base: Mapping[str, Tensor]
    """The pretrained tensors by path, tied ones once."""
    held: Mapping[str, Tensor]
    """The Delta's tensors by name."""
    task: int = 0
    """The number of the task whose entry of each tensor is used."""

    def own(self, name: str) -> Tensor:
        """The task's entry of a tensor, or the only one where tasks share it."""
        tensor = self.held[name]
        return tensor[min(self.task, len(tensor) - 1)]

    def places(self) -> list[Place]:
        """Where the adapters sit: both stacks, from the first layer up, and always the top one."""
        layers = self.config.num_layers
        return [
            (stack, layer, position)
            for stack in STACKS
            for layer in range(min(self.method.first_layer, layers - 1), layers)
            for position in ("attention", "feed_forward")
            if stack in self.method.stacks and position in self.method.positions
        ]


def norm_paths(config: Any) -> list[str]:
    """Every layer norm of both stacks, cross-attention's and the final ones included."""
    paths = []
    for stack in STACKS:
        for layer in range(config.num_layers):
            paths += [f"{stack}.block.{layer}.layer.{number}.layer_norm" for number in range(len(SUBLAYERS[stack]))]
        paths.append(f"{stack}.final_layer_norm")
    return paths


def tensors_of(given: Given) -> dict[str, Tensor]:
    """The pretrained tensors, with the Delta's norms and output layer in the place of theirs."""
    tensors = dict(given.base)
    if given.method.norms:
        paths = [f"{path}.weight" for path in norm_paths(given.config)]
        tensors.update(zip(paths, given.own("norms.weight"), strict=True))
    if getattr(given.method, "output_layer", False):
        tensors["shared.weight"] = given.own("output_layer.weight")[0]  # tied: embeddings and lm_head in one
    return tensors


Projections = Callable[[Given, int], tuple[Tensor, Tensor]]
"""The down- and the up-projection of the site with this number."""


def with_adapters(projections: Projections) -> Callable[[Given], PlainT5]:
    """A T5 with A(y) + y at every place, or γ ⊙ norm(A(y)) + β + y where the method has a norm of its own."""

    def at_place(given: Given, site: int) -> Callable[[Tensor], Tensor]:
        down, up = projections(given, site)
        biases = given.own("adapters.down_bias")[site], given.own("adapters.up_bias")[site]
        activation = ACTIVATIONS[given.method.activation]

        def apply(y: Tensor) -> Tensor:
            change = adapter(y, down, biases[0], up, biases[1], activation)
            if "adapters.scale" in given.held:
                change = conditional_norm(change, given.own("adapters.scale")[site], given.own("adapters.shift")[site])
            return change + y

        return apply

    def made(given: Given) -> PlainT5:
        adapters = {place: at_place(given, site) for site, place in enumerate(given.places())}
        return PlainT5(given.config, tensors_of(given), adapters)

    return made


def dense(given: Given, site: int) -> tuple[Tensor, Tensor]:
    return given.own("adapters.matrices.down")[site], given.own("adapters.matrices.up")[site]


def low_rank(given: Given, site: int) -> tuple[Tensor, Tensor]:
    def product(side: str) -> Tensor:
        left, right = (given.own(f"adapters.matrices.{side}_{end}")[site] for end in ("left", "right"))
        return left @ right

    return product("down"), product("up")


def phm(given: Given, site: int) -> tuple[Tensor, Tensor]:
    def summed(side: str) -> Tensor:
        return kronecker_sum(*(given.own(f"adapters.matrices.{side}_{part}")[site] for part in ("slow", "fast")))

    return summed("down"), summed("up")


def compacter(given: Given, site: int) -> tuple[Tensor, Tensor]:
    def slow(side: str) -> Tensor:
        name = "adapters.matrices." + ("slow" if given.method.shared_slow else f"{side}_slow")
        place = 0 if given.method.shared_slow else site
        if not given.method.factorized_slow:
            return given.own(f"{name}.weight")[place]
        columns, rows = (given.own(f"{name}.{end}")[place] for end in ("left", "right"))
        return torch.stack([column @ row for column, row in zip(columns, rows, strict=True)])

    def summed(side: str) -> Tensor:
        fast = (given.own(f"adapters.matrices.{side}_{end}")[site] for end in ("left", "right"))
        return low_rank_kronecker_sum(slow(side), *fast)

    return summed("down"), summed("up")


def layer_of(held: Mapping[str, Tensor], path: str) -> tuple[Tensor, Tensor]:
    """A linear layer's weight and bias."""
    return held[f"{path}.weight"], held[f"{path}.bias"]


def site_embeddings(given: Given) -> list[Tensor]:
    """What the generators of HyperFormer read: the projected task embedding, the same at every site (§2.2)."""
    z, path = given.held["adapters.tasks"][given.task], "adapters.networks.sites.projector"
    if given.method.task_projector:
        z = projector(z, layer_of(given.held, f"{path}.0"), layer_of(given.held, f"{path}.2"))
    return [z] * len(given.places())


def place_embeddings(given: Given) -> list[Tensor]:
    """What the generators of HyperFormer++ read: LayerNorm of the projected [z; layer; position] (§2.3)."""
    found, places = [], given.places()
    positions = sorted({position for _, _, position in places})
    for stack, layer, position in places:
        path = f"adapters.networks.{stack}"
        layers = sorted({number for other, number, _ in places if other == stack})
        parts = [
            given.held["adapters.tasks"][given.task],
            given.held[f"{path}.layer"][layers.index(layer)],
            given.held[f"{path}.position"][positions.index(position)],
        ]
        embedding = torch.cat(parts)
        if given.method.task_projector:
            first, second = (layer_of(given.held, f"{path}.projector.0.{number}") for number in (0, 2))
            scale, shift = layer_of(given.held, f"{path}.projector.1")
            embedding = scale * standardized(projector(embedding, first, second), eps=1e-6) + shift
        found.append(embedding)
    return found


Shapes = Callable[[Any, int], dict[str, tuple[int, ...]]]
"""The tensors that a hypernetwork writes for the projections of a site, from the method and d_model."""


def dense_shapes(method: Any, width: int) -> dict[str, tuple[int, ...]]:
    return {"down": (width, method.bottleneck), "up": (method.bottleneck, width)}


def compacter_shapes(method: Any, width: int) -> dict[str, tuple[int, ...]]:
    n, p, q, r = method.n, width // method.n, method.bottleneck // method.n, method.rank
    return {"down_left": (n, p, r), "down_right": (n, r, q), "up_left": (n, q, r), "up_right": (n, r, p)}


def phm_shapes(method: Any, width: int) -> dict[str, tuple[int, ...]]:
    n, p, q = method.n, width // method.n, method.bottleneck // method.n
    return {"down_fast": (n, p, q), "up_fast": (n, q, p)}


def generated(given: Given, site: int, embedding: Tensor, shapes: Shapes, per_site: bool) -> dict[str, Tensor]:
    """What the generators write for a site: W·I + b, cut into tensors."""
    stack, _, _ = given.places()[site]
    path = "adapters.networks." + ("sites" if per_site else stack) + ".generator"
    weight, bias = (part[site if per_site else 0] for part in layer_of(given.held, path))
    method, width = given.method, given.config.d_model
    blocks = {**shapes(method, width), "down_bias": (method.bottleneck,), "up_bias": (width,)}
    norms = {"scale": (width,), "shift": (width,)}
    wanted = {**(blocks if method.adapter_blocks else {}), **(norms if method.normalizes else {})}
    pieces = (embedding @ weight + bias[0]).split([math.prod(shape) for shape in wanted.values()])
    return {name: piece.view(shape) for (name, shape), piece in zip(wanted.items(), pieces, strict=True)}


def dense_from(given: Given, written: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    return written["down"], written["up"]


def compacter_from(given: Given, written: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    slow = given.held["adapters.slow"][0, 0]
    sides = ("down", "up")
    down, up = (low_rank_kronecker_sum(slow, written[f"{s}_left"], written[f"{s}_right"]) for s in sides)
    return down, up


def phm_from(given: Given, written: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    slow = given.held["adapters.slow"][0, 0]
    return kronecker_sum(slow, written["down_fast"]), kronecker_sum(slow, written["up_fast"])


Assembled = Callable[[Given, Mapping[str, Tensor]], tuple[Tensor, Tensor]]


def with_hypernetwork(shapes: Shapes, assembled: Assembled, *, per_site: bool = False) -> Callable[[Given], PlainT5]:
    """A T5 whose adapters a hypernetwork writes from the task's embedding."""

    def at_place(given: Given, written: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        def apply(y: Tensor) -> Tensor:
            change = y
            if given.method.adapter_blocks:
                down, up = assembled(given, written)
                activation = ACTIVATIONS[given.method.activation]
                change = adapter(y, down, written["down_bias"], up, written["up_bias"], activation)
            if given.method.normalizes:
                change = conditional_norm(change, written["scale"], written["shift"])
            return change + y

        return apply

    def made(given: Given) -> PlainT5:
        embeddings = site_embeddings(given) if per_site else place_embeddings(given)
        adapters = {
            place: at_place(given, generated(given, site, embeddings[site], shapes, per_site))
            for site, place in enumerate(given.places())
        }
        return PlainT5(given.config, tensors_of(given), adapters)

    return made


def bitfit(given: Given) -> PlainT5:
    """A bias for every linear layer and every sub-layer's norm, none for the two final norms, one for lm_head."""
    widths = {"q": given.config.num_heads * given.config.d_kv, "wi": given.config.d_ff}
    widths |= {"k": widths["q"], "v": widths["q"]}
    paths: list[str] = []
    for stack in STACKS:
        for layer in range(given.config.num_layers):
            for number, kind in enumerate(SUBLAYERS[stack]):
                linear = ("wi", "wo") if kind == "DenseReluDense" else ("q", "k", "v", "o")
                path = f"{stack}.block.{layer}.layer.{number}"
                paths += [*(f"{path}.{kind}.{name}" for name in linear), f"{path}.layer_norm"]
    sizes = [widths.get(path.rpartition(".")[2], given.config.d_model) for path in paths]
    pieces = given.own("biases.bias").split([*sizes, given.config.vocab_size])
    tensors = dict(given.base)
    if given.method.output_layer:
        tensors["shared.weight"] = given.own("output_layer.weight")[0]
    return PlainT5(given.config, tensors, biases=dict(zip([*paths, "lm_head"], pieces, strict=True)))


def prompt(given: Given) -> PlainT5:
    return PlainT5(given.config, given.base, prompt=given.own("prompt.vectors"))


def said(given: Given) -> PlainT5:
    """θᵢ = θᵢ⁰ + λᵢ·Pᵢ θ for every tensor, a tied one once (Aghajanyan et al., §3)."""
    vector = given.own("subspace.vector")
    theta, scales = vector[: -len(given.base)], vector[-len(given.base) :]
    moved = {}
    for number, (path, base) in enumerate(given.base.items()):
        length, key = 2 ** math.ceil(math.log2(base.numel())), projection_key(given.method.seed, number)
        device = base.device
        signs, gains = _signs(length, key, device, base.dtype), _normals(0, length, key, device, base.dtype)
        order = _permutation(0, length, length, key, device).long()
        moved[path] = base + scales[number] * fastfood(theta, base.numel(), signs, order, gains).view(base.shape)
    return PlainT5(given.config, moved)


def full(given: Given) -> PlainT5:
    return PlainT5(given.config, {path: given.held[f"backbone.{path}"] for path in given.base})


def norms_alone(given: Given) -> PlainT5:
    return PlainT5(given.config, tensors_of(given))


REFERENCES: dict[str, Callable[[Given], PlainT5]] = {
    "houlsby": with_adapters(dense),
    "pfeiffer": with_adapters(dense),
    "adapterdrop": with_adapters(dense),
    "lowrank": with_adapters(low_rank),
    "phm": with_adapters(phm),
    "compacter": with_adapters(compacter),
    "compacter++": with_adapters(compacter),
    "adapters-multitask": with_adapters(dense),
    "hyperformer": with_hypernetwork(dense_shapes, dense_from, per_site=True),
    "hyperformer++": with_hypernetwork(dense_shapes, dense_from),
    "hyper-compacter": with_hypernetwork(compacter_shapes, compacter_from),
    "hyper-phm": with_hypernetwork(phm_shapes, phm_from),
    "bitfit": bitfit,
    "prompt-r": prompt,
    "prompt-t": prompt,
    "intrinsic-said": said,
    "full": full,
    "full-multitask": full,
    "norms": norms_alone,
}
"""By the name of the preset."""

WITHOUT: dict[str, str] = {
    "side": "its rungs are not those of a paper: tests/methods/test_side.py has their equations",
    "side-compacter": "as side, with Compacter's projections",
    "hyper-side": "it writes the ladder of side, which is what tests/methods/test_side.py compares it with",
}
"""Presets that no paper defines in equations of its own, each with the reason. (Methods of peft are no presets.)"""
