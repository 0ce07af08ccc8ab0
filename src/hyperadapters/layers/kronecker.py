"""Sums of Kronecker products: the weights of PHM layers and of Compacter.

A PHM layer (Zhang et al., arXiv:2102.08597v1, §3; Compacter, arXiv:2106.04647v2, §2) has the weight
W = Σᵢ Aᵢ ⊗ Bᵢ. `slow` is A, which Compacter shares between all sites of the model; `fast` is B, which each site has for
itself. Block (a, c) of W, of shape (p, q), is Σᵢ Aᵢ[a, c]·Bᵢ.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def kron_sum(slow: Float[Tensor, "*#lead n n n"], fast: Float[Tensor, "*#lead n p q"]) -> Float[Tensor, "*lead np nq"]:
    """Compute W = Σᵢ Aᵢ ⊗ Bᵢ (Compacter, arXiv:2106.04647v2, §2, eq. 3), without forming any Aᵢ ⊗ Bᵢ.

    Args:
        slow: A, over any leading axes.
        fast: B, with leading axes that broadcast with those of `slow`.
    """
    *_, n, p, q = fast.shape
    blocks = slow.flatten(-2).mT @ fast.flatten(-2)  # row a·n + c is block (a, c)
    *lead, _, _ = blocks.shape
    return blocks.reshape(*lead, n, n, p, q).transpose(-3, -2).reshape(*lead, n * p, n * q)


def low_rank_kron_sum(
    slow: Float[Tensor, "*#lead n n n"],
    left: Float[Tensor, "*lead n p rank"],
    right: Float[Tensor, "*lead n rank q"],
) -> Float[Tensor, "*lead np nq"]:
    """Compute W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢ) (Compacter, arXiv:2106.04647v2, §3).

    The slow weights are multiplied with the factor of the narrow side only, and one matrix product with the factor of
    the wide side then gives W, or its transpose if W has more rows than columns. Every number of the result is written
    once, in its final place, where `kron_sum(slow, left @ right)` would form blocks and then rearrange them.

    Args:
        slow: A.
        left: s.
        right: t.
    """
    if left.shape[-2] > right.shape[-1]:
        return low_rank_kron_sum(slow.mT, right.mT, left.mT).mT
    small, wide = _factors_up(slow, left, right)
    *lead, rows, _ = small.shape
    return (small.reshape(*lead, -1, wide.shape[-2]) @ wide).reshape(*lead, rows, -1)


def _factors_down(
    slow: Float[Tensor, "*#lead n n n"],
    left: Float[Tensor, "*lead n p rank"],
    right: Float[Tensor, "*lead n rank q"],
) -> tuple[Float[Tensor, "*lead p nr"], Float[Tensor, "*lead nnr nq"]]:
    """Return S and M with Σᵢ Aᵢ ⊗ (sᵢ·tᵢ) = (I ⊗ S)·M, for a projection from a wide to a narrow side.

    S = [s₁ … sₙ] is applied to each of the n blocks of the input, and M holds the products Aᵢ ⊗ tᵢ. Multiplying a token
    by S, then by M takes n·r·n·p + n²·r·n·q multiplications, and the matrix of n·p × n·q numbers is not formed.
    """
    small = torch.einsum("...iac,...irq->...aircq", slow, right)
    return left.transpose(-3, -2).flatten(-2), small.flatten(-5, -3).flatten(-2)


def _factors_up(
    slow: Float[Tensor, "*#lead n n n"],
    left: Float[Tensor, "*lead n q rank"],
    right: Float[Tensor, "*lead n rank p"],
) -> tuple[Float[Tensor, "*lead nq nnr"], Float[Tensor, "*lead nr p"]]:
    """Return M and T with Σᵢ Aᵢ ⊗ (sᵢ·tᵢ) = M·(I ⊗ T), for a projection from a narrow to a wide side.

    T = [t₁; …; tₙ] is applied to each of n blocks of x·M, and M holds the products Aᵢ ⊗ sᵢ.
    """
    small = torch.einsum("...iac,...iqr->...aqcir", slow, left)
    return small.flatten(-3).flatten(-3, -2), right.flatten(-3, -2)
