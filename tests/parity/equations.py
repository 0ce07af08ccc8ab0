"""The equations of the papers, in plain PyTorch and as they are written: dense matrices, one row of a table at a time.

Compacter: arXiv:2106.04647v2; HyperFormer: arXiv:2106.04489v1; Houlsby et al.: arXiv:1902.00751v2; PHM layers:
arXiv:2102.08597v1; Fastfood: arXiv:1408.3060v1; Intrinsic-SAID: arXiv:2012.13255v1.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def gelu_tanh(x: Tensor) -> Tensor:
    """The approximation of Compacter and HyperFormer."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x: Tensor) -> Tensor:
    """The exact one, of Houlsby et al.: x·Φ(x)."""
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu_new": gelu_tanh, "gelu": gelu_erf}


def standardized(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Layer norm without scale and shift."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def adapter(
    y: Tensor,
    down: Tensor,
    down_bias: Tensor,
    up: Tensor,
    up_bias: Tensor,
    activation: Callable[[Tensor], Tensor] = gelu_tanh,
) -> Tensor:
    """U·g(D·y + b_D) + b_U, without the skip (Houlsby et al., §2.1)."""
    return activation(y @ down + down_bias) @ up + up_bias


def conditional_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """γ ⊙ norm(x) + β (HyperFormer, §2.2)."""
    return scale * standardized(x) + shift


def kronecker_sum(slow: Tensor, fast: Tensor) -> Tensor:
    """W = Σᵢ Aᵢ ⊗ Bᵢ (Compacter, §2, eq. 3), every product formed; i is the first axis of both."""
    products = [torch.kron(a.contiguous(), b.contiguous()) for a, b in zip(slow, fast, strict=True)]
    return torch.stack(products).sum(0)


def low_rank_kronecker_sum(slow: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢ) (Compacter, §3)."""
    return kronecker_sum(slow, torch.stack([s @ t for s, t in zip(left, right, strict=True)]))


def projector(z: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """W₂ ReLU(W₁ z + b₁) + b₂ (HyperFormer, §2.2)."""
    return second[0] @ (first[0] @ z + first[1]).relu() + second[1]


def hadamard(size: int) -> Tensor:
    """The Walsh-Hadamard matrix in Sylvester's order, entries ±1."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), matrix)
    return matrix


def fastfood(theta: Tensor, size: int, signs: Tensor, permutation: Tensor, gains: Tensor) -> Tensor:
    """P θ: the first entries of H(G ⊙ (H(B ⊙ θ))[Π]), divided by √(L·ΣG²)·√(D/L) (Le et al., §3; as in SAID).

    Args:
        theta: padded with zeros to L numbers, or cut to them.
        size: D, the numbers that come out.
        signs: B, of L numbers, L = 2^⌈log₂ D⌉.
        permutation: Π.
        gains: G.
    """
    length = len(signs)
    padded = torch.cat([theta[:length], theta.new_zeros(max(0, length - len(theta)))])
    matrix = hadamard(length)
    mixed = matrix @ (gains * (matrix @ (signs * padded))[permutation])
    return mixed[:size] / ((length * gains.pow(2).sum()).sqrt() * math.sqrt(size / length))
