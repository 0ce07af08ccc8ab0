"""Sums of Kronecker products against `torch.kron`."""

import pytest
import torch
from torch import Tensor

from hyperadapters.layers.kronecker import kron_sum, low_rank_kron_sum

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


@pytest.mark.parametrize(("p", "q"), [(2, 3), (3, 2), (5, 5)])
@pytest.mark.parametrize(("n", "r"), SIZES)
def test_products_of_low_rank_make_the_same_matrices_at_all_sites_with_gradients(n, r, p, q):
    adapters, sites = 2, 3
    slow = torch.randn(1, sites, n, n, n, dtype=torch.float64, requires_grad=True)
    left = torch.randn(adapters, sites, n, p, r, dtype=torch.float64, requires_grad=True)
    right = torch.randn(adapters, sites, n, r, q, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(adapters, sites, n * p, n * q, dtype=torch.float64)
    made, expected = low_rank_kron_sum(slow, left, right), kron_sum(slow, left @ right)
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=1e-12)
    grads = torch.autograd.grad((made * weights).sum(), (slow, left, right))
    for grad, other in zip(grads, torch.autograd.grad((expected * weights).sum(), (slow, left, right)), strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-12, atol=1e-12)


def test_many_sites_are_summed_as_each_is():
    slow, fast = torch.randn(2, 1, 4, 4, 4, dtype=torch.float64), torch.randn(2, 3, 4, 2, 5, dtype=torch.float64)
    made = kron_sum(slow, fast)
    for adapter in range(2):
        for site in range(3):
            torch.testing.assert_close(made[adapter, site], by_hand(slow[adapter, 0], fast[adapter, site]))


@pytest.mark.parametrize(("p", "q"), [(64, 2), (2, 64)])
def test_the_wide_side_lies_in_rows(p, q):
    """So that a linear layer reads the matrix, or the transposed one, as it was written."""
    made = low_rank_kron_sum(torch.randn(4, 4, 4), torch.randn(4, p, 1), torch.randn(4, 1, q))
    assert (made.mT if p > q else made).is_contiguous()


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
