"""Initialisation as the papers' code draws it, and the shapes of the two families of axes."""

import math

import pytest
import torch

from hyperadapters.layers.matrices import PHM, Dense, LowRank, LowRankPHM

ADAPTERS, SITES, D_MODEL, BOTTLENECK, N = 2, 40, 96, 24, 4


def compacter(**changes):
    options = {"shared": True, "factorized": False, "trained": True}
    return LowRankPHM(ADAPTERS, SITES, D_MODEL, BOTTLENECK, N, 1, **{**options, **changes})


FAMILIES = {
    "dense": lambda: Dense(ADAPTERS, SITES, D_MODEL, BOTTLENECK),
    "low rank": lambda: LowRank(ADAPTERS, SITES, D_MODEL, BOTTLENECK, 3),
    "phm": lambda: PHM(ADAPTERS, SITES, D_MODEL, BOTTLENECK, N),
    "compacter": compacter,
    "own slow": lambda: compacter(shared=False),
    "factorized": lambda: compacter(factorized=True),
    "frozen": lambda: compacter(trained=False),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_makes_all_matrices_of_all_adapters_at_once(family):
    down, up = FAMILIES[family]()()
    assert down.shape == (ADAPTERS, SITES, D_MODEL, BOTTLENECK)
    assert up.shape == (ADAPTERS, SITES, BOTTLENECK, D_MODEL)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_adapter_of_many_is_what_it_would_be_alone(family):
    """The adapter axis mixes nothing: changing one adapter's parameters leaves the other's matrices as they were."""
    bank = FAMILIES[family]()
    before = [matrix[0].clone() for matrix in bank()]
    with torch.no_grad():
        for tensor in [*bank.parameters(), *bank.buffers()]:
            tensor[1] += 1.0
    for matrix, other in zip(bank(), before, strict=True):
        assert torch.equal(matrix[0], other)
        assert not torch.equal(matrix[1], other)


def multiplied(factors):
    """The matrix that factors stand for, written out for the first adapter's first site."""
    whole = torch.eye(1)
    for factor in (factor[0, 0].contiguous() for factor in factors):
        whole = factor if len(whole) == 1 else whole @ torch.kron(torch.eye(whole.shape[1] // len(factor)), factor)
    return whole


@pytest.mark.parametrize("family", [*FAMILIES, "rank 3"])
def test_factors_multiply_to_the_matrices(family):
    three = LowRankPHM(ADAPTERS, SITES, D_MODEL, BOTTLENECK, N, 3, shared=True, factorized=False, trained=True)
    bank = three if family == "rank 3" else FAMILIES[family]()
    (first, *others), up = bank.factors()
    blocks = torch.eye(D_MODEL // first.shape[-2])
    down = [torch.kron(blocks, first[0, 0].contiguous())[None, None], *others]
    for matrix, factors in zip(bank(), (down, up), strict=True):
        torch.testing.assert_close(multiplied(factors), matrix[0, 0], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["down", "up"])
def test_dense_matrices_are_normal_with_standard_deviation_a_hundredth(name):
    weights = getattr(FAMILIES["dense"](), name)
    assert weights.std().item() == pytest.approx(0.01, rel=0.02)


def test_houlsbys_own_start_is_a_normal_of_a_thousandth_cut_at_two_deviations():
    """Of a normal cut at two deviations the standard deviation is 0.880 of the whole one's."""
    bank = Dense(ADAPTERS, SITES, D_MODEL, BOTTLENECK, truncated=True)
    for weights in (bank.down, bank.up):
        assert 1.9e-3 < weights.abs().max().item() <= 2e-3
        assert weights.std().item() == pytest.approx(0.880e-3, rel=0.02)


def test_the_slow_weights_of_phm_are_normal_with_standard_deviation_a_hundredth():
    assert FAMILIES["phm"]().down_slow.std().item() == pytest.approx(0.01, rel=0.1)


def test_the_slow_weights_of_compacter_are_normal_with_standard_deviation_one_in_ten_thousand():
    draws = torch.cat([compacter().slow().flatten() for _ in range(20)])
    assert draws.std().item() == pytest.approx(1e-4, rel=0.1)


def test_slow_weights_of_each_site_have_a_standard_deviation_of_a_hundredth():
    """As in the published code; those that all sites share have one in ten thousand."""
    own = compacter(shared=False)
    for slow in (own.down_slow.weight, own.up_slow.weight):
        assert slow.std().item() == pytest.approx(0.01, rel=0.05)


def test_factorized_slow_weights_have_rank_one_and_the_spread_of_full_ones():
    slow = torch.stack([FAMILIES["factorized"]().slow() for _ in range(50)])
    assert torch.linalg.matrix_rank(slow[0, 0, 0], rtol=1e-4).tolist() == [1] * N
    assert slow.std().item() == pytest.approx(1e-4, rel=0.15)


@pytest.mark.parametrize(
    ("weights", "fan_in", "fan_out"),
    [
        (lambda: FAMILIES["low rank"]().down_left, D_MODEL, 3),
        (lambda: FAMILIES["low rank"]().up_right, 3, D_MODEL),
        (lambda: FAMILIES["phm"]().down_fast, D_MODEL // N, BOTTLENECK // N),
        (lambda: compacter().down_left, D_MODEL // N, 1),
        (lambda: compacter().down_right, 1, BOTTLENECK // N),
        (lambda: compacter().up_left, BOTTLENECK // N, 1),
        (lambda: compacter().up_right, 1, D_MODEL // N),
    ],
)
def test_factors_are_glorot_uniform_with_gain_root_two_per_slice(weights, fan_in, fan_out):
    bound = math.sqrt(2) * math.sqrt(6 / (fan_in + fan_out))
    drawn = weights()
    assert drawn.abs().max().item() <= bound
    assert drawn.abs().max().item() > 0.95 * bound
    assert drawn.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_frozen_slow_weights_are_saved_but_not_trained():
    bank = FAMILIES["frozen"]()
    assert "slow.weight" not in dict(bank.named_parameters())
    assert "slow.weight" in bank.state_dict()


def test_low_rank_is_a_matrix_product_for_any_rank():
    bank = FAMILIES["low rank"]()
    down, _ = bank()
    torch.testing.assert_close(down[1, 2], bank.down_left[1, 2] @ bank.down_right[1, 2])
    assert torch.linalg.matrix_rank(down[1, 2]) == 3
