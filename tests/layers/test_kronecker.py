"""Sums of Kronecker products against `torch.kron`."""

import pytest
import torch
from torch import Tensor

from hyperadapters.layers.kronecker import kron_sum, kron_sum_pair

SIZES = [(n, r) for n in (1, 2, 4, 8, 12) for r in (1, 2, 8)]


def by_hand(slow: Tensor, fast: Tensor) -> Tensor:
    return sum(torch.kron(a, b) for a, b in zip(slow, fast, strict=True))


def factors(n: int, r: int, down: int = 2, up: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    shapes = (n, n, n), (n, down, r), (n, r, up)
    return tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)


@pytest.mark.parametrize(("n", "r"), SIZES)
def test_kron_sum_equals_the_sum_of_products_with_gradients(n, r):
    slow, left, right = factors(n, r)
    weights = torch.randn(2 * n, 3 * n, dtype=torch.float64)
    ours = kron_sum(slow, left @ right)
    torch.testing.assert_close(ours, by_hand(slow, left @ right), rtol=1e-12, atol=1e-12)
    grads = torch.autograd.grad((ours * weights).sum(), (slow, left, right))
    expected = torch.autograd.grad((by_hand(slow, left @ right) * weights).sum(), (slow, left, right))
    for grad, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n", "r"), SIZES)
def test_one_contraction_makes_both_projections_of_all_sites(n, r):
    adapters, sites = 2, 3
    slow = torch.randn(adapters, 1, n, n, n, dtype=torch.float64)
    down = torch.randn(adapters, sites, n, 2, r, dtype=torch.float64) @ torch.randn(n, r, 3, dtype=torch.float64)
    up = torch.randn(adapters, sites, n, 3, r, dtype=torch.float64) @ torch.randn(n, r, 2, dtype=torch.float64)
    made_down, made_up = kron_sum_pair(slow, down, up)
    for adapter in range(adapters):
        for site in range(sites):
            expected = by_hand(slow[adapter, 0], down[adapter, site]), by_hand(slow[adapter, 0], up[adapter, site])
            torch.testing.assert_close(made_down[adapter, site], expected[0], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(made_up[adapter, site], expected[1], rtol=1e-12, atol=1e-12)


def test_the_sum_is_linear_in_both_factors():
    slow, left, right = factors(4, 2)
    torch.testing.assert_close(kron_sum(2 * slow, left @ right), kron_sum(slow, 2 * left @ right))


def test_the_rank_of_a_compacter_matrix_is_at_most_n_squared_times_r():
    slow = torch.randn(2, 2, 2, dtype=torch.float64)
    fast = torch.randn(2, 12, 1, dtype=torch.float64) @ torch.randn(2, 1, 12, dtype=torch.float64)
    assert torch.linalg.matrix_rank(kron_sum(slow, fast)) == 4


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(Exception, match="kron_sum"):
        kron_sum(torch.zeros(4, 4, 3), torch.zeros(4, 2, 2))
