"""How every preset starts, tensor by tensor, at the widths of T5-base: from the distributions of the papers' code."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from families import FAMILIES
from references import norm_paths
from scipy import stats
from torch import Tensor

from conftest import make_tiny
from hyperadapters import METHODS, attach, method_named

WIDTH, BOTTLENECK = 768, 24
BASE = {"d_model": WIDTH, "d_kv": 64, "num_heads": 12, "num_layers": 1}
"""T5-base with one layer in each stack, a small vocabulary and a narrow feed-forward."""
NUMBERS = 20_000
"""So many numbers of a tensor, evenly spread over it, are looked at."""

Start = Callable[[Tensor], None]
"""Raises AssertionError unless a tensor can have been drawn so."""


def follows(distribution: Any) -> Start:
    """Drawn from a distribution: the test of Kolmogorov and Smirnov, at one in ten thousand, and its support."""

    def check(tensor: Tensor) -> None:
        flat = tensor.detach().flatten().double()
        values = flat[:: max(1, len(flat) // NUMBERS)].numpy()
        low, high = distribution.support()
        assert low - 1e-6 <= values.min() <= values.max() <= high + 1e-6
        assert stats.kstest(values, distribution.cdf).pvalue > 1e-4

    return check


def normal(std: float) -> Start:
    return follows(stats.norm(scale=std))


def uniform(bound: float) -> Start:
    return follows(stats.uniform(-bound, 2 * bound))


def glorot(fan_in: int, fan_out: int) -> Start:
    """U(−b, b), b = √2·√(6 / (fan_in + fan_out)), for every matrix of a stack."""
    return uniform(math.sqrt(2) * math.sqrt(6 / (fan_in + fan_out)))


def constant(value: float) -> Start:
    def check(tensor: Tensor) -> None:
        assert torch.equal(tensor, torch.full_like(tensor, value))

    return check


ZERO, ONE = constant(0.0), constant(1.0)
TRUNCATED = follows(stats.truncnorm(-2, 2, scale=1e-3))
"""N(0, 0.001²) without what is beyond two standard deviations."""


def matrices(**starts: Start) -> dict[str, Start]:
    """The projections, and biases of zero."""
    named = {f"adapters.matrices.{name}": start for name, start in starts.items()}
    return {**named, "adapters.down_bias": ZERO, "adapters.up_bias": ZERO}


def factors(rows: int, columns: int, rank: int) -> dict[str, Start]:
    """Both projections as products of two factors, each with its own bound."""
    wide, narrow = glorot(rows, rank), glorot(rank, columns)
    return {"down_left": wide, "down_right": narrow, "up_left": narrow, "up_right": wide}


DENSE = matrices(down=normal(0.01), up=normal(0.01))


def phm(n: int) -> dict[str, Start]:
    fast = glorot(WIDTH // n, BOTTLENECK // n)
    return matrices(down_slow=normal(0.01), up_slow=normal(0.01), down_fast=fast, up_fast=fast)


def compacter(n: int, **slow: Start) -> dict[str, Start]:
    """The slow weights, by default one A for all sites, and the fast ones."""
    named = {f"adapters.matrices.{name.replace('__', '.')}": start for name, start in slow.items()}
    shared = {"adapters.matrices.slow.weight": normal(1e-4)}
    return {**matrices(**factors(WIDTH // n, BOTTLENECK // n, 1)), **(named or shared)}


def linear(path: str, inputs: int, published: bool) -> dict[str, Start]:
    """A linear layer as HyperFormer's code draws it, or as torch does."""
    bound = 1 / math.sqrt(inputs)
    return {f"{path}.weight": normal(0.01) if published else uniform(bound),
            f"{path}.bias": ZERO if published else uniform(bound)}  # fmt: skip


def hyperformer(published: bool) -> dict[str, Start]:
    path = "adapters.networks.sites"
    projector = linear(f"{path}.projector.0", 512, published) | linear(f"{path}.projector.2", 128, published)
    generators = {f"{path}.generator.weight": normal(0.01), f"{path}.generator.bias": ZERO}
    return {"adapters.tasks": normal(1.0), **projector, **generators}


def shared_generator(published: bool, weight: Start) -> dict[str, Start]:
    """HyperFormer++: one hypernetwork in each stack."""
    starts: dict[str, Start] = {"adapters.tasks": normal(1.0)}
    for stack in ("encoder", "decoder"):
        path = f"adapters.networks.{stack}"
        starts |= {f"{path}.layer": normal(1.0), f"{path}.position": normal(1.0)}
        starts |= linear(f"{path}.projector.0.0", 192, published) | linear(f"{path}.projector.0.2", 128, published)
        starts |= {f"{path}.projector.1.weight": ONE, f"{path}.projector.1.bias": ZERO}
        starts |= {f"{path}.generator.weight": weight, f"{path}.generator.bias": ZERO}
    return starts


def columns(*pieces: tuple[int, Start]) -> Start:
    """A generator's weights: so many columns for each tensor that it writes, the rest from N(0, 0.01²)."""

    def check(tensor: Tensor) -> None:
        sizes = [size for size, _ in pieces]
        *own, vectors = tensor.split([*sizes, tensor.shape[-1] - sum(sizes)], dim=-1)
        for piece, (_, start) in zip(own, pieces, strict=True):
            start(piece)
        normal(0.01)(vectors)

    return check


def as_wide(rows: int, columns: int) -> Start:
    """A generator whose outputs have the variance of Glorot's distribution where it reads 64 numbers of variance 1."""
    variance = 2 * 6 / (rows + columns) / 3
    return normal(math.sqrt(variance / 64))


P, Q = WIDTH // 4, BOTTLENECK // 4
FAST = columns(*((4 * size, as_wide(size, 1)) for size in (P, Q, Q, P)))
BLOCKS = columns(*((4 * P * Q, as_wide(P, Q)) for _ in range(2)))
SLOW = "adapters.slow"
PUBLISHED, LINEAR = {"projector_init": "published"}, {"projector_init": "linear"}


def ladder(projections: dict[str, Start], width: int = 32) -> dict[str, Start]:
    """A ladder: its projections, and attention that adds little at first."""
    attention = {f"ladder.{name}": normal(width**-0.5) for name in ("query", "key", "value")}
    rest = {f"ladder.{name}": ZERO for name in ("down_bias", "gate", "up_bias")}
    return {**projections, **attention, **rest, "ladder.mix": normal(0.1 * width**-0.5)}


def ladder_projections(n: int, width: int) -> dict[str, Start]:
    """Compacter's projections of a ladder."""
    found = {
        "down_left": glorot(WIDTH // n, 1),
        "down_right": glorot(1, width // n),
        "up_left": glorot(width // n, 1),
        "up_right": glorot(1, WIDTH // n),
        "slow.weight": normal(1e-4),
    }
    return {f"ladder.matrices.{name}": start for name, start in found.items()}


def written_ladder(width: int) -> dict[str, Start]:
    """The hypernetworks of a ladder beside T5's decoder, whose numbers start in size as a ladder's own do."""
    rung = {WIDTH * width: 0.01, width: 0.01, 1: 0.01, 3 * width**2: width**-0.5, width**2: 0.1 * width**-0.5}
    spreads = {"rungs": rung, "end": {width * WIDTH + WIDTH: 0.01}}
    starts: dict[str, Start] = {"ladder.tasks": normal(1.0)}
    for name, pieces in spreads.items():
        path = f"ladder.{name}"
        starts |= {f"{path}.layer": normal(1.0), f"{path}.position": normal(1.0), f"{path}.generator.bias": ZERO}
        starts |= linear(f"{path}.projector.0.0", 192, False) | linear(f"{path}.projector.0.2", 128, False)
        starts |= {f"{path}.projector.1.weight": ONE, f"{path}.projector.1.bias": ZERO}
        starts[f"{path}.generator.weight"] = parts_of_normals({size: std / 8 for size, std in pieces.items()})
    return starts


def parts_of_normals(spreads: dict[int, float]) -> Start:
    """So many columns each, of normal distributions with these standard deviations."""

    def check(tensor: Tensor) -> None:
        for piece, std in zip(tensor.split([*spreads], dim=-1), spreads.values(), strict=True):
            normal(std)(piece)

    return check


STARTS: dict[str, tuple[dict[str, Any], dict[str, Start]]] = {
    "houlsby": ({}, DENSE),
    "houlsby, as Houlsby et al.": ({"init": "truncated"}, matrices(down=TRUNCATED, up=TRUNCATED)),
    "pfeiffer": ({}, DENSE),
    "adapterdrop": ({}, DENSE),
    "lowrank": ({}, matrices(**factors(WIDTH, BOTTLENECK, 1))),
    "lowrank, rank 4": ({"rank": 4}, matrices(**factors(WIDTH, BOTTLENECK, 4))),
    "phm": ({}, phm(12)),
    "phm, n=4": ({"n": 4}, phm(4)),
    "compacter": ({}, compacter(4)),
    "compacter, n=12": ({"n": 12}, compacter(12)),
    "compacter, own A": (
        {"shared_slow": False},
        compacter(4, down_slow__weight=normal(0.01), up_slow__weight=normal(0.01)),
    ),
    "compacter, factorized A": (
        {"factorized_slow": True},
        compacter(4, slow__left=normal(0.01), slow__right=normal(0.01)),
    ),
    "compacter++": ({}, compacter(4)),
    "adapters-multitask": ({}, {**DENSE, "adapters.scale": constant(0.1), "adapters.shift": ZERO}),
    "hyperformer, published": (PUBLISHED, hyperformer(published=True)),
    "hyperformer, linear": (LINEAR, hyperformer(published=False)),
    "hyperformer++, published": (PUBLISHED, shared_generator(True, normal(0.01))),
    "hyperformer++, linear": (LINEAR, shared_generator(False, normal(0.01))),
    "hyper-compacter, published": (PUBLISHED, {**shared_generator(True, FAST), SLOW: normal(1e-4)}),
    "hyper-phm, published": (PUBLISHED, {**shared_generator(True, BLOCKS), SLOW: normal(0.01)}),
    "bitfit": ({}, {"biases.bias": ZERO}),
    "prompt-r": ({}, {"prompt.vectors": uniform(0.5)}),
    "norms": ({}, {}),
    "side": ({}, ladder({"ladder.matrices.down": normal(0.01), "ladder.matrices.up": normal(0.01)})),
    "side-compacter": ({}, ladder(ladder_projections(4, 32))),
    "hyper-side": ({}, written_ladder(32)),
}
"""By preset, or a preset and what is changed: its fields, and the start of every tensor but the norms."""
BY_VALUE = ("prompt-t", "intrinsic-said", "full", "full-multitask")
"""Presets that draw nothing, and have a test of their own below."""


def test_every_preset_has_a_start():
    missing = sorted(METHODS.keys() - {name.partition(",")[0] for name in STARTS} - set(BY_VALUE))
    assert not missing, f"{', '.join(missing)}: say in STARTS of tests/parity/test_starts.py how each tensor starts."


@pytest.mark.parametrize("name", STARTS)
def test_every_tensor_is_drawn_from_its_distribution(name):
    fields, starts = STARTS[name]
    preset = name.partition(",")[0]
    backbone = make_tiny(**BASE)
    tasks = [str(i) for i in range(8)] if preset.startswith(("hyper", "adapters-")) else []
    torch.manual_seed(11)
    trained = attach(backbone, method_named(preset, fields), tasks=tasks).trained()
    if METHODS[preset].__dict__.get("norms"):
        theirs = torch.stack([backbone.get_parameter(f"{path}.weight") for path in norm_paths(backbone.config)])
        assert torch.equal(trained.pop("norms.weight")[0], theirs)
    assert trained.keys() == starts.keys()
    for tensor, start in starts.items():
        start(trained[tensor])


def test_a_prompt_of_the_vocabulary_is_its_first_hundred_rows():
    """The published code never wrote them: its vectors stayed at zero."""
    backbone = make_tiny()
    vectors = attach(backbone, METHODS["prompt-t"]).trained()["prompt.vectors"]
    assert torch.equal(vectors[0], backbone.shared.weight[:100])


def test_the_subspace_starts_at_its_origin_with_a_scale_of_one_for_each_tensor():
    backbone = make_tiny()
    tensors = len(list(backbone.parameters()))
    (vector,) = attach(backbone, METHODS["intrinsic-said"]).trained()["subspace.vector"]
    ZERO(vector[:-tensors])
    ONE(vector[-tensors:])


@pytest.mark.parametrize("preset", ["full", "full-multitask"])
def test_full_fine_tuning_starts_from_the_pretrained_tensors(preset):
    backbone = make_tiny()
    before = {f"backbone.{path}": tensor.clone() for path, tensor in backbone.named_parameters()}
    trained = attach(backbone, METHODS[preset], tasks=["a", "b"] if preset == "full-multitask" else []).trained()
    assert trained.keys() == before.keys()
    assert all(torch.equal(trained[path], before[path]) for path in before)


def test_on_bert_biases_start_from_the_pretrained_ones_and_a_fresh_head_as_transformers_draws_it():
    backbone = FAMILIES["bert"].make()
    pretrained = [t for path, t in backbone.named_parameters() if path.endswith("bias") and "classifier" not in path]
    with torch.no_grad():
        for tensor in pretrained:
            tensor.normal_()
    trained = attach(backbone, METHODS["bitfit"], outputs=40).trained()
    assert sorted(trained["biases.bias"][0].tolist()) == sorted(torch.cat(pretrained).tolist())
    normal(0.02)(trained["head.weight"])
    ZERO(trained["head.weight_40"])
