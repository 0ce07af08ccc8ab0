"""Sums of Kronecker products: the weights of PHM layers and of Compacter.

A PHM layer (Zhang et al., arXiv:2102.08597v1, §3; Compacter, arXiv:2106.04647v2, §2) has the weight
W = Σᵢ Aᵢ ⊗ Bᵢ. `slow` is A, which Compacter shares over the whole model; `fast` is B, the site's own.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def kron_sum(slow: Float[Tensor, "*#lead n n n"], fast: Float[Tensor, "*#lead n p q"]) -> Float[Tensor, "*lead np nq"]:
    """W = Σᵢ Aᵢ ⊗ Bᵢ (Compacter, §2, eq. 3) over any leading axes, without forming a single product."""
    *_, n, p, q = fast.shape
    blocks = slow.flatten(-2).mT @ fast.flatten(-2)  # row a·n + c is block (a, c)
    *lead, _, _ = blocks.shape
    return blocks.reshape(*lead, n, n, p, q).transpose(-3, -2).reshape(*lead, n * p, n * q)


def low_rank_kron_sum(
    slow: Float[Tensor, "*#lead n n n"],
    left: Float[Tensor, "*lead n p rank"],
    right: Float[Tensor, "*lead n rank q"],
) -> Float[Tensor, "*lead np nq"]:
    """`kron_sum(slow, left @ right)`, written once, in the order it lies in memory.

    The slow weights meet the factor of the narrow side alone, and one matrix product with the wide side's gives the
    whole matrix, or the transposed one, whose rows are then the long ones: no block is formed and moved to its place.
    """
    if left.shape[-2] > right.shape[-1]:
        return low_rank_kron_sum(slow.mT, right.mT, left.mT).mT
    small, wide = factors_up(slow, left, right)
    *lead, rows, _ = small.shape
    return (small.reshape(*lead, -1, wide.shape[-2]) @ wide).reshape(*lead, rows, -1)


def factors_down(
    slow: Float[Tensor, "*#lead n n n"],
    left: Float[Tensor, "*lead n p rank"],
    right: Float[Tensor, "*lead n rank q"],
) -> tuple[Float[Tensor, "*lead p nr"], Float[Tensor, "*lead nnr nq"]]:
    """Σᵢ Aᵢ ⊗ (lᵢ·rᵢ) = (I ⊗ S)·M with S = [lᵢ]ᵢ: S acts on n blocks of the input alike, M is small.

    A product with both takes n·r(n·p + n·q) multiplications and no matrix of n·p × n·q is formed.
    """
    small = torch.einsum("...iac,...irq->...aircq", slow, right)
    return left.transpose(-3, -2).flatten(-2), small.flatten(-5, -3).flatten(-2)


def factors_up(
    slow: Float[Tensor, "*#lead n n n"],
    left: Float[Tensor, "*lead n q rank"],
    right: Float[Tensor, "*lead n rank p"],
) -> tuple[Float[Tensor, "*lead nq nnr"], Float[Tensor, "*lead nr p"]]:
    """Σᵢ Aᵢ ⊗ (lᵢ·rᵢ) = M·(I ⊗ T) with T = [rᵢ]ᵢ: the same where the output is the wider side."""
    small = torch.einsum("...iac,...iqr->...aqcir", slow, left)
    return small.flatten(-3).flatten(-3, -2), right.flatten(-3, -2)
