"""Fastfood: a random projection R^d → R^D that stores no matrix (Le, Sarlós & Smola, arXiv:1408.3060v1, §3).

With L = 2^⌈log₂ D⌉ and θ padded to L (cropped where d > L), as Intrinsic-SAID uses it (Aghajanyan et al.,
arXiv:2012.13255v1, §3; Compacter, arXiv:2106.04647v2, §4.2):

    P θ = (H G Π H B θ)[:D] / √(D·ΣG²)

H is the unnormalised Walsh-Hadamard matrix of size L, B a diagonal of random signs, Π a random permutation, G a
diagonal of N(0, 1); the divisor gives P columns of unit norm (exactly so where D = L, else on average).

B, Π and G are functions of a key: integer arithmetic alone, so they are the same on every machine and device, and
any stretch of them can be made where it is needed. The inner transform acts on d numbers and zeros, so it is one of
size K = 2^⌈log₂ d⌉ repeated L/K times, and costs next to nothing.
"""

import hashlib
import statistics
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

FACTOR = 16
"""H is applied as a Kronecker product of Hadamard matrices of this size (docs/log.md)."""

QUANTILES = 4096
"""Values that G takes."""

WORD = 31
"""Bits of a random word: a non-negative int32."""


def stretch(device: torch.device) -> int:
    """How many numbers are made at once: what fits into a CPU's cache, or keeps a GPU busy."""
    return 2**16 if device.type == "cpu" else 2**22


def projection_key(seed: int, tensor: int) -> int:
    """The key of the projection of a backbone's tensor number `tensor`: 62 bits of a hash."""
    return int.from_bytes(hashlib.sha256(f"fastfood {seed} {tensor}".encode()).digest()[:8], "big") >> 2


def scrambled(counters: Int[Tensor, " n"], bits: int, key: int, stream: str) -> Int[Tensor, " n"]:
    """A pseudo-random bijection of [0, 2^bits), element by element; `counters` is overwritten.

    Three rounds x ← a + m·x (mod 2^bits), x ← x ⊕ (x >> ⌈bits/2⌉), with odd m and a from a hash of key and stream.
    Each step can be undone, so the whole is a permutation. Products wrap around, as int32 does everywhere.
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


def counters(start: int, stop: int, device: torch.device) -> Int[Tensor, " n"]:
    """The numbers from `start` up to `stop`."""
    return torch.arange(start, stop, dtype=torch.int32, device=device)


def permutation(start: int, stop: int, length: int, key: int, device: torch.device) -> Int[Tensor, " n"]:
    """Π: entries `start` to `stop` of a permutation of `length`, a power of two."""
    return scrambled(counters(start, stop, device), length.bit_length() - 1, key, "permutation")


def signs(length: int, key: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, " length"]:
    """B: the first entries of a sequence of random signs."""
    words = scrambled(counters(0, length, device), WORD, key, "signs")
    return (words >> (WORD - 1)).mul_(-2).add_(1).to(dtype)


def normals(start: int, stop: int, key: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, " n"]:
    """G: entries `start` to `stop` of a sequence of normal numbers."""
    words = scrambled(counters(start, stop, device), WORD, key, "normals")
    index = torch.bitwise_right_shift(words, WORD - QUANTILES.bit_length() + 1, out=words)
    return quantiles(device, dtype).index_select(0, index)


@cache
def quantiles(device: torch.device, dtype: torch.dtype) -> Float[Tensor, " quantiles"]:
    """The quantiles (k + ½)/4096 of N(0, 1), rounded to multiples of 2⁻²⁰ so that no library's last bit matters."""
    normal = statistics.NormalDist()
    values = [round(normal.inv_cdf((k + 0.5) / QUANTILES) * 2**20) / 2**20 for k in range(QUANTILES)]
    return torch.tensor(values, dtype=dtype, device=device)


@cache
def hadamard(size: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "size size"]:
    """The Walsh-Hadamard matrix in Sylvester's order, entries ±1."""
    if size == 1:
        return torch.ones(1, 1, dtype=dtype, device=device)
    half = hadamard(size // 2, device, dtype)
    return torch.cat([torch.cat([half, half], 1), torch.cat([half, -half], 1)], 0)


def walsh_hadamard(x: Float[Tensor, "*batch n inner"]) -> Float[Tensor, "*batch n inner"]:
    """H x along the axis before the last, n a power of two: H = H₁₆ ⊗ … ⊗ H₁₆ ⊗ H_rest, one small product each."""
    shape, (n, inner) = x.shape, x.shape[-2:]
    done = 1
    while done < n:
        size = min(FACTOR, n // done)
        matrix = hadamard(size, x.device, x.dtype)
        block = done * inner
        x = x.reshape(-1, size) @ matrix if block == 1 else matrix @ x.reshape(-1, size, block)
        done *= size
    return x.view(shape)


def transform_columns(x: Float[Tensor, "rows columns"]) -> None:
    """H x along the first axis in place, some columns at a time."""
    rows, columns = x.shape
    width = max(1, stretch(x.device) // rows)
    for start in range(0, columns, width):
        block = x[:, start : start + width]
        block.copy_(walsh_hadamard(block))


def next_power_of_two(numbers: int) -> int:
    """The power of two at or above."""
    return 1 << max(0, numbers - 1).bit_length()


class Projection:
    """P for one tensor of `outputs` numbers: its sizes, and its random parts a stretch at a time."""

    def __init__(self, key: int, inputs: int, outputs: int, device: torch.device) -> None:
        self.key, self.inputs, self.outputs, self.device = key, inputs, outputs, device
        self.length = next_power_of_two(outputs)
        self.kept = min(inputs, self.length)
        self.period = next_power_of_two(self.kept)
        self.step = min(self.length, stretch(device))
        self.rows = self.length // self.step

    def signed(self, theta: Float[Tensor, " kept"]) -> Float[Tensor, " kept"]:
        """B θ."""
        return theta * signs(self.kept, self.key, self.device, theta.dtype)

    def sources(self, row: int) -> Int[Tensor, " step"]:
        """Π in one stretch: which number of the period each entry is."""
        start = row * self.step
        return permutation(start, start + self.step, self.length, self.key, self.device).bitwise_and_(self.period - 1)

    def gains(self, row: int, dtype: torch.dtype) -> Float[Tensor, " step"]:
        """G in one stretch."""
        return normals(row * self.step, (row + 1) * self.step, self.key, self.device, dtype)

    def added(self, base: Float[Tensor, "*shape"], theta: Float[Tensor, " inputs"]) -> Float[Tensor, "*shape"]:
        """The sum base + P θ, in the type of `base`."""
        inner = F.pad(self.signed(theta[: self.kept]), (0, self.period - self.kept))
        inner = walsh_hadamard(inner[:, None])[:, 0]
        outer, squares = theta.new_empty(self.rows, self.step), theta.new_zeros(())
        for row in range(self.rows):
            gains = self.gains(row, theta.dtype)
            squares += gains.dot(gains)
            mixed = inner.index_select(0, self.sources(row)).mul_(gains)
            outer[row] = walsh_hadamard(mixed[:, None])[:, 0]
        transform_columns(outer)
        delta = outer.view(-1)[: self.outputs].view(base.shape)
        return torch.addcmul(base.to(theta.dtype), delta, torch.rsqrt(self.outputs * squares)).to(base.dtype)

    def transposed(self, gradient: Float[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, " inputs"]:
        """Pᵀ applied to the gradient of P's result, in the type given."""
        outer = torch.empty(self.length, dtype=dtype, device=self.device)
        outer[: self.outputs].view(gradient.shape).copy_(gradient)
        outer[self.outputs :] = 0
        outer = outer.view(self.rows, self.step)
        transform_columns(outer)
        inner, squares = outer.new_zeros(self.period), outer.new_zeros(())
        for row in range(self.rows):
            gains = self.gains(row, dtype)
            squares += gains.dot(gains)
            inner.index_add_(0, self.sources(row), walsh_hadamard(outer[row][:, None])[:, 0].mul_(gains))
        inner = walsh_hadamard(inner[:, None])[: self.kept, 0]
        return F.pad(self.signed(inner) * torch.rsqrt(self.outputs * squares), (0, self.inputs - self.kept))


@torch.library.custom_op(
    "hyperadapters::fastfood", mutates_args=(), schema="(Tensor base, Tensor theta, int key) -> Tensor"
)
def fastfood_multiply(
    base: Float[Tensor, "*shape"], theta: Float[Tensor, " inputs"], key: int
) -> Float[Tensor, "*shape"]:
    """The sum base + P θ for the projection with this key, differentiable.

    Nothing of its size is kept for the backward pass, where P is made anew: it is linear, so only `key` is needed.
    """
    with torch.autocast(base.device.type, enabled=False):
        return Projection(key, len(theta), base.numel(), base.device).added(base, theta.to(exact(theta.dtype)))


@torch.library.custom_op(
    "hyperadapters::fastfood_transposed",
    mutates_args=(),
    schema="(Tensor gradient, int inputs, int key, ScalarType dtype) -> Tensor",
)
def fastfood_multiply_transposed(
    gradient: Float[Tensor, "*shape"], inputs: int, key: int, dtype: torch.dtype
) -> Float[Tensor, " inputs"]:
    """Pᵀ applied to a gradient."""
    with torch.autocast(gradient.device.type, enabled=False):
        projection = Projection(key, inputs, gradient.numel(), gradient.device)
        return projection.transposed(gradient, exact(dtype)).to(dtype)


def exact(dtype: torch.dtype) -> torch.dtype:
    """The type to transform in: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


@fastfood_multiply.register_fake
def _(base: Tensor, theta: Tensor, key: int) -> Tensor:
    return torch.empty(base.shape, dtype=base.dtype, device=base.device)


@fastfood_multiply_transposed.register_fake
def _(gradient: Tensor, inputs: int, key: int, dtype: torch.dtype) -> Tensor:
    return gradient.new_empty(inputs, dtype=dtype)


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    _, theta, ctx.key = inputs
    ctx.inputs, ctx.dtype = len(theta), theta.dtype


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    return gradient, fastfood_multiply_transposed(gradient, ctx.inputs, ctx.key, ctx.dtype), None


fastfood_multiply.register_autograd(_backward, setup_context=_remember)
