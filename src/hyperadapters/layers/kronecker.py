"""Sums of Kronecker products: the weights of PHM layers and of Compacter.

A PHM layer (Zhang et al., arXiv:2102.08597v1, §3; Compacter, arXiv:2106.04647v2, §2) has the weight
W = Σᵢ Aᵢ ⊗ Bᵢ. `slow` is A, which Compacter shares over the whole model; `fast` is B, the site's own.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def kron_sum(slow: Float[Tensor, "*#lead n n n"], fast: Float[Tensor, "*#lead n p q"]) -> Float[Tensor, "*lead np nq"]:
    """W = Σᵢ Aᵢ ⊗ Bᵢ (Compacter, §2, eq. 3) over any leading axes, without forming a single product."""
    *_, p, q = fast.shape
    return assemble(mix(slow, fast.flatten(-2)), p, q)


def kron_sum_pair(
    slow: Float[Tensor, "*lead #sites n n n"],
    down: Float[Tensor, "*lead sites n p q"],
    up: Float[Tensor, "*lead sites n q p"],
) -> tuple[Float[Tensor, "*lead sites np nq"], Float[Tensor, "*lead sites nq np"]]:
    """`kron_sum(slow, down), kron_sum(slow, up)` for all sites in one contraction with the slow weights.

    The sum over i never looks inside a block, and the blocks of both projections hold p·q numbers,
    so one matrix product serves every projection of every site.
    """
    *_, sites, _, p, q = down.shape
    mixed = mix(slow, torch.cat([down.flatten(-2), up.flatten(-2)], dim=-3))
    mixed_down, mixed_up = torch.split(mixed, sites, dim=-3)
    return assemble(mixed_down, p, q), assemble(mixed_up, q, p)


def factors_down(
    slow: Float[Tensor, "*lead #sites n n n"],
    left: Float[Tensor, "*lead sites n p rank"],
    right: Float[Tensor, "*lead sites n rank q"],
) -> tuple[Float[Tensor, "*lead sites p nr"], Float[Tensor, "*lead sites nnr nq"]]:
    """Σᵢ Aᵢ ⊗ (lᵢ·rᵢ) = (I ⊗ S)·M with S = [lᵢ]ᵢ: S acts on n blocks of the input alike, M is small.

    A product with both takes n·r(n·p + n·q) multiplications and no matrix of n·p × n·q is formed.
    """
    small = torch.einsum("...iac,...irq->...aircq", slow, right)
    return left.transpose(-3, -2).flatten(-2), small.flatten(-5, -3).flatten(-2)


def factors_up(
    slow: Float[Tensor, "*lead #sites n n n"],
    left: Float[Tensor, "*lead sites n q rank"],
    right: Float[Tensor, "*lead sites n rank p"],
) -> tuple[Float[Tensor, "*lead sites nq nnr"], Float[Tensor, "*lead sites nr p"]]:
    """Σᵢ Aᵢ ⊗ (lᵢ·rᵢ) = M·(I ⊗ T) with T = [rᵢ]ᵢ: the same where the output is the wider side."""
    small = torch.einsum("...iac,...iqr->...aqcir", slow, left)
    return small.flatten(-3).flatten(-3, -2), right.flatten(-3, -2)


def mix(slow: Float[Tensor, "*#lead n n n"], blocks: Float[Tensor, "*#lead n pq"]) -> Float[Tensor, "*lead n*n pq"]:
    """Σᵢ A[i, a, c] · B[i, :]: the contraction over i, as one matrix product; row a·n + c is block (a, c)."""
    return slow.flatten(-2).mT @ blocks


def assemble(blocks: Float[Tensor, "*lead nn pq"], p: int, q: int) -> Float[Tensor, "*lead np nq"]:
    """n·n blocks of (p, q), row by row, laid out as one (n·p, n·q) matrix."""
    n = round(blocks.shape[-2] ** 0.5)
    *lead, _, _ = blocks.shape
    return blocks.reshape(*lead, n, n, p, q).transpose(-3, -2).reshape(*lead, n * p, n * q)
