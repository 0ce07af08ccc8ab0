"""Fastfood: a random projection R^d → R^D that stores no matrix (Le, Sarlós & Smola, arXiv:1408.3060v1, §3).

With L = 2^⌈log₂ D⌉ and θ padded to L (cropped where d > L), as Intrinsic-SAID uses it (Aghajanyan et al.,
arXiv:2012.13255v1, §3; Compacter, arXiv:2106.04647v2, §4.2):

    P θ = (H G Π H B θ)[:D] / √(D·ΣG²)

H is the unnormalised Walsh-Hadamard matrix of size L, B a diagonal of random signs, Π a random permutation, G a
diagonal of N(0, 1); the divisor gives P columns of unit norm (exactly so where D = L, else on average).

B, Π and G are functions of a key, computed in integer arithmetic, so they are the same on every machine and device,
and any slice of them can be made when it is needed. The inner transform acts on d numbers followed by zeros, so its
result is a transform of size K = 2^⌈log₂ d⌉ repeated L/K times, which costs very little.
"""

import hashlib
import statistics
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

_FACTOR = 16
"""Size of the Hadamard matrices whose Kronecker product is H (docs/log.md has the measurements)."""

_QUANTILES = 4096
"""Number of values that entries of G take."""

_WORD = 31
"""Bits of a random word, which is a non-negative int32."""


def _stretch(device: torch.device) -> int:
    """Return how many numbers are computed at once: few enough for a CPU's cache, enough to keep a GPU busy."""
    return 2**16 if device.type == "cpu" else 2**22


def projection_key(seed: int, tensor: int) -> int:
    """Return the key of a projection, 62 bits of a hash.

    Args:
        seed: distinguishes sets of projections.
        tensor: number of the backbone's tensor that the projection moves.
    """
    return int.from_bytes(hashlib.sha256(f"fastfood {seed} {tensor}".encode()).digest()[:8], "big") >> 2


def _scrambled(counters: Int[Tensor, " n"], bits: int, key: int, stream: str) -> Int[Tensor, " n"]:
    """Apply a pseudo-random bijection of [0, 2^bits) to every element; `counters` is overwritten.

    It has three rounds x ← a + m·x (mod 2^bits), x ← x ⊕ (x >> ⌈bits/2⌉), with odd m and a from a hash of key and
    stream. Each step is invertible, so the whole is a permutation. Products wrap around, as int32 does on every device.
    """
    words = hashlib.sha256(f"{key} {stream}".encode()).digest()
    mask, half = 2**bits - 1, (bits + 1) // 2
    x, shifted = counters, torch.empty_like(counters)
    for r in range(3):
        multiplier = (int.from_bytes(words[8 * r : 8 * r + 4], "big") | 1) & mask
        increment = int.from_bytes(words[8 * r + 4 : 8 * r + 8], "big") & mask
        x.mul_(multiplier).add_(increment).bitwise_and_(mask)
        x.bitwise_xor_(torch.bitwise_right_shift(x, half, out=shifted))
    return x


def _counters(start: int, stop: int, device: torch.device) -> Int[Tensor, " n"]:
    """Return the numbers from `start` up to, not including, `stop`."""
    return torch.arange(start, stop, dtype=torch.int32, device=device)


def _permutation(start: int, stop: int, length: int, key: int, device: torch.device) -> Int[Tensor, " n"]:
    """Return entries `start` to `stop` of Π, a permutation of `length` numbers (a power of two)."""
    return _scrambled(_counters(start, stop, device), length.bit_length() - 1, key, "permutation")


def _signs(length: int, key: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, " length"]:
    """Return the first `length` entries of B, random signs."""
    words = _scrambled(_counters(0, length, device), _WORD, key, "signs")
    return (words >> (_WORD - 1)).mul_(-2).add_(1).to(dtype)


def _normals(start: int, stop: int, key: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, " n"]:
    """Return entries `start` to `stop` of G, standard normal numbers."""
    words = _scrambled(_counters(start, stop, device), _WORD, key, "normals")
    index = torch.bitwise_right_shift(words, _WORD - _QUANTILES.bit_length() + 1, out=words)
    return _quantiles(device, dtype).index_select(0, index)


@cache
def _quantiles(device: torch.device, dtype: torch.dtype) -> Float[Tensor, " quantiles"]:
    """Return the quantiles (k + ½)/4096 of N(0, 1).

    They are rounded to multiples of 2⁻²⁰, so that differences in the last bits between libraries do not matter.
    """
    normal = statistics.NormalDist()
    values = [round(normal.inv_cdf((k + 0.5) / _QUANTILES) * 2**20) / 2**20 for k in range(_QUANTILES)]
    return torch.tensor(values, dtype=dtype, device=device)


@cache
def _hadamard(size: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "size size"]:
    """Return the Walsh-Hadamard matrix in Sylvester's order, entries ±1."""
    if size == 1:
        return torch.ones(1, 1, dtype=dtype, device=device)
    half = _hadamard(size // 2, device, dtype)
    return torch.cat([torch.cat([half, half], 1), torch.cat([half, -half], 1)], 0)


def _walsh_hadamard(x: Float[Tensor, "*batch n inner"]) -> Float[Tensor, "*batch n inner"]:
    """Compute H x along the axis before the last, n a power of two.

    H = H₁₆ ⊗ … ⊗ H₁₆ ⊗ H_rest is applied factor by factor, each with one small matrix product.
    """
    shape, (n, inner) = x.shape, x.shape[-2:]
    done = 1
    while done < n:
        size = min(_FACTOR, n // done)
        matrix = _hadamard(size, x.device, x.dtype)
        block = done * inner
        x = x.reshape(-1, size) @ matrix if block == 1 else matrix @ x.reshape(-1, size, block)
        done *= size
    return x.view(shape)


def _transform_columns(x: Float[Tensor, "rows columns"]) -> None:
    """Compute H x along the first axis, in place, for a few columns at a time."""
    rows, columns = x.shape
    width = max(1, _stretch(x.device) // rows)
    for start in range(0, columns, width):
        block = x[:, start : start + width]
        block.copy_(_walsh_hadamard(block))


def _next_power_of_two(numbers: int) -> int:
    """Return the smallest power of two that is not below `numbers`."""
    return 1 << max(0, numbers - 1).bit_length()


class _Projection:
    """The projection P for one tensor: its sizes, and its random parts one slice at a time.

    Args:
        key: from `projection_key`.
        inputs: d, the length of θ.
        outputs: D, the size of the tensor.
        device: where P is computed.
    """

    def __init__(self, key: int, inputs: int, outputs: int, device: torch.device) -> None:
        self.key, self.inputs, self.outputs, self.device = key, inputs, outputs, device
        self.length = _next_power_of_two(outputs)
        self.kept = min(inputs, self.length)
        self.period = _next_power_of_two(self.kept)
        self.step = min(self.length, _stretch(device))
        self.rows = self.length // self.step

    def signed(self, theta: Float[Tensor, " kept"]) -> Float[Tensor, " kept"]:
        """Compute B θ."""
        return theta * _signs(self.kept, self.key, self.device, theta.dtype)

    def sources(self, row: int) -> Int[Tensor, " step"]:
        """Return one slice of Π, modulo the inner transform's period: the position that each entry is read from."""
        start = row * self.step
        return _permutation(start, start + self.step, self.length, self.key, self.device).bitwise_and_(self.period - 1)

    def gains(self, row: int, dtype: torch.dtype) -> Float[Tensor, " step"]:
        """Return one slice of G."""
        return _normals(row * self.step, (row + 1) * self.step, self.key, self.device, dtype)

    def added(self, base: Float[Tensor, "*shape"], theta: Float[Tensor, " inputs"]) -> Float[Tensor, "*shape"]:
        """Compute base + P θ in the dtype of θ; the result has that of `base`."""
        inner = F.pad(self.signed(theta[: self.kept]), (0, self.period - self.kept))
        inner = _walsh_hadamard(inner[:, None])[:, 0]
        outer, squares = theta.new_empty(self.rows, self.step), theta.new_zeros(())
        for row in range(self.rows):
            gains = self.gains(row, theta.dtype)
            squares += gains.dot(gains)
            mixed = inner.index_select(0, self.sources(row)).mul_(gains)
            outer[row] = _walsh_hadamard(mixed[:, None])[:, 0]
        _transform_columns(outer)
        delta = outer.view(-1)[: self.outputs].view(base.shape)
        return torch.addcmul(base.to(theta.dtype), delta, torch.rsqrt(self.outputs * squares)).to(base.dtype)

    def transposed(self, gradient: Float[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, " inputs"]:
        """Compute Pᵀ g for a gradient g of the projection's result, in the given dtype."""
        outer = torch.empty(self.length, dtype=dtype, device=self.device)
        outer[: self.outputs].view(gradient.shape).copy_(gradient)
        outer[self.outputs :] = 0
        outer = outer.view(self.rows, self.step)
        _transform_columns(outer)
        inner, squares = outer.new_zeros(self.period), outer.new_zeros(())
        for row in range(self.rows):
            gains = self.gains(row, dtype)
            squares += gains.dot(gains)
            inner.index_add_(0, self.sources(row), _walsh_hadamard(outer[row][:, None])[:, 0].mul_(gains))
        inner = _walsh_hadamard(inner[:, None])[: self.kept, 0]
        return F.pad(self.signed(inner) * torch.rsqrt(self.outputs * squares), (0, self.inputs - self.kept))


@torch.library.custom_op(
    "hyperadapters::fastfood", mutates_args=(), schema="(Tensor base, Tensor theta, int key) -> Tensor"
)
def fastfood_multiply(
    base: Float[Tensor, "*shape"], theta: Float[Tensor, " inputs"], key: int
) -> Float[Tensor, "*shape"]:
    """Compute base + P θ with the Fastfood projection P (Le et al., arXiv:1408.3060v1, §3); differentiable.

    P is linear, so the backward pass needs `key` alone: it makes P again, and no tensor of the size of `base` is saved.

    Args:
        base: any shape, D numbers.
        theta: d numbers.
        key: from `projection_key`.
    """
    with torch.autocast(base.device.type, enabled=False):
        return _Projection(key, len(theta), base.numel(), base.device).added(base, theta.to(_exact(theta.dtype)))


@torch.library.custom_op(
    "hyperadapters::fastfood_transposed",
    mutates_args=(),
    schema="(Tensor gradient, int inputs, int key, ScalarType dtype) -> Tensor",
)
def _fastfood_multiply_transposed(
    gradient: Float[Tensor, "*shape"], inputs: int, key: int, dtype: torch.dtype
) -> Float[Tensor, " inputs"]:
    """Compute Pᵀ g for a gradient g of the result of `fastfood_multiply`."""
    with torch.autocast(gradient.device.type, enabled=False):
        projection = _Projection(key, inputs, gradient.numel(), gradient.device)
        return projection.transposed(gradient, _exact(dtype)).to(dtype)


def _exact(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype to transform in, which is at least float32."""
    return torch.promote_types(dtype, torch.float32)


@fastfood_multiply.register_fake
def _(base: Tensor, theta: Tensor, key: int) -> Tensor:
    return torch.empty(base.shape, dtype=base.dtype, device=base.device)


@_fastfood_multiply_transposed.register_fake
def _(gradient: Tensor, inputs: int, key: int, dtype: torch.dtype) -> Tensor:
    return gradient.new_empty(inputs, dtype=dtype)


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    _, theta, ctx.key = inputs
    ctx.inputs, ctx.dtype = len(theta), theta.dtype


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    return gradient, _fastfood_multiply_transposed(gradient, ctx.inputs, ctx.key, ctx.dtype), None


fastfood_multiply.register_autograd(_backward, setup_context=_remember)
