"""Fastfood against the projection written out with scipy's Hadamard matrix, its gradients, and its random parts."""

import hashlib

import pytest
import torch
from scipy.linalg import hadamard
from scipy.stats import norm

from hyperadapters.layers import fastfood as module
from hyperadapters.layers.fastfood import (
    _fastfood_multiply_transposed,
    _next_power_of_two,
    _normals,
    _permutation,
    _signs,
    _walsh_hadamard,
    fastfood_multiply,
    projection_key,
)

CPU = torch.device("cpu")
SIZES = [(1, 3), (48, 10), (48, 100), (64, 64), (100, 1), (1000, 300)]
"""(D, d): one number, padded, cropped, whole, a single column, many of both."""


def random_parts(length: int, key: int):
    """B, Π, G of a whole projection."""
    return (
        _signs(length, key, CPU, torch.float64),
        _permutation(0, length, length, key, CPU).long(),
        _normals(0, length, key, CPU, torch.float64),
    )


def dense(outputs: int, inputs: int, key: int) -> torch.Tensor:
    """P as a matrix (outputs, inputs), by the equation; columns that θ has too many of are zero."""
    length = _next_power_of_two(outputs)
    h = torch.tensor(hadamard(length), dtype=torch.float64)
    b, pi, g = random_parts(length, key)
    whole = h @ torch.diag(g) @ torch.eye(length, dtype=torch.float64)[pi] @ h @ torch.diag(b)
    scale = (length * (g**2).sum()).sqrt() * (outputs / length) ** 0.5
    columns = torch.zeros(length, max(inputs, length), dtype=torch.float64)
    columns[:, :length] = whole
    return columns[:outputs, :inputs] / scale


@pytest.fixture(params=["one stretch", "many stretches"])
def stretches(request, monkeypatch):
    """Also with random parts made 8 at a time."""
    if request.param == "many stretches":
        monkeypatch.setattr(module, "_stretch", lambda device: 8)


@pytest.mark.parametrize("length", [1, 2, 8, 16, 32, 1024])
def test_the_transform_is_that_of_scipys_matrix(length):
    matrix = torch.tensor(hadamard(length), dtype=torch.float64)
    x = torch.randn(2, length, 3, dtype=torch.float64)
    torch.testing.assert_close(_walsh_hadamard(x), matrix @ x)
    torch.testing.assert_close(_walsh_hadamard(x[..., :1].contiguous()), matrix @ x[..., :1])


@pytest.mark.parametrize(("outputs", "inputs"), SIZES)
def test_the_projection_is_the_dense_one(outputs, inputs, stretches):
    theta, base = torch.randn(inputs, dtype=torch.float64), torch.randn(outputs, dtype=torch.float64)
    expected = base + dense(outputs, inputs, projection_key(3, 1)) @ theta
    torch.testing.assert_close(fastfood_multiply(base, theta, projection_key(3, 1)), expected)


@pytest.mark.parametrize(("outputs", "inputs"), SIZES)
def test_the_gradient_is_the_transposed_projection_and_not_off_by_a_factor_of_its_length(outputs, inputs, stretches):
    gradient = torch.randn(outputs, dtype=torch.float64)
    expected = dense(outputs, inputs, 5).T @ gradient
    torch.testing.assert_close(_fastfood_multiply_transposed(gradient, inputs, 5, torch.float64), expected)
    theta = torch.randn(inputs, dtype=torch.float64, requires_grad=True)
    fastfood_multiply(torch.zeros(outputs, dtype=torch.float64), theta, 5).backward(gradient)
    torch.testing.assert_close(theta.grad, expected)


@pytest.mark.parametrize(("shape", "inputs"), [((3, 4), 10), ((3, 3), 20), ((20,), 7)])
def test_gradcheck_in_double_precision(shape, inputs, stretches):
    base = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    theta = torch.randn(inputs, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda b, t: fastfood_multiply(b, t, 11), (base, theta))


def test_the_gradient_may_come_transposed():
    gradient = torch.randn(6, 8).T
    torch.testing.assert_close(
        _fastfood_multiply_transposed(gradient, 9, 2, torch.float32),
        _fastfood_multiply_transposed(gradient.contiguous(), 9, 2, torch.float32),
    )


def test_columns_have_unit_norm():
    torch.testing.assert_close(dense(256, 256, 7).norm(dim=0), torch.ones(256, dtype=torch.float64))
    cropped = torch.cat([dense(160, 160, key) for key in range(8)], 1).norm(dim=0)
    assert abs((cropped**2).mean() - 1) < 0.02
    assert cropped.std() < 0.1


def test_columns_are_nearly_orthogonal():
    gram = sum(dense(256, 32, key).T @ dense(256, 32, key) for key in range(16)) / 16
    assert (gram - torch.eye(32, dtype=torch.float64)).abs().max() < 0.1


@pytest.mark.parametrize("bits", range(13))
def test_every_permutation_hits_every_number_once(bits):
    for key in (0, 1, 2**61):
        assert _permutation(0, 2**bits, 2**bits, key, CPU).sort().values.tolist() == list(range(2**bits))


def test_permutations_spread_neighbours_evenly():
    jumps = _permutation(0, 2**16, 2**16, 9, CPU).double().diff()
    assert abs(jumps.abs().mean() / 2**16 - 1 / 3) < 0.01
    places = torch.stack([_permutation(0, 16, 16, key, CPU) for key in range(2000)])
    counts = torch.stack([(places == value).sum(0) for value in range(16)])
    assert (counts - 125).abs().max() < 6 * 125**0.5


def test_the_normal_numbers_are_normal_and_the_signs_fair():
    g = _normals(0, 2**18, 4, CPU, torch.float64)
    moments = torch.stack([g.mean(), (g**2).mean(), (g**3).mean(), (g**4).mean()])
    expected = torch.tensor([0.0, 1.0, 0.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(moments, expected, rtol=0.02, atol=0.02)
    assert (g[1:] * g[:-1]).mean().abs() < 0.01
    b = _signs(2**16, 4, CPU, torch.float64)
    assert set(b.tolist()) == {-1.0, 1.0}
    assert b.mean().abs() < 0.02


def test_stretches_are_pieces_of_one_sequence():
    for make in (lambda a, b: _permutation(a, b, 4096, 3, CPU), lambda a, b: _normals(a, b, 3, CPU, torch.float32)):
        assert torch.equal(torch.cat([make(0, 1000), make(1000, 4096)]), make(0, 4096))


def scrambled_in_python(counter: int, bits: int, key: int, stream: str) -> int:
    """The recipe in integers without limit."""
    words = hashlib.sha256(f"{key} {stream}".encode()).digest()
    for r in range(3):
        multiplier = int.from_bytes(words[8 * r : 8 * r + 4], "big") | 1
        increment = int.from_bytes(words[8 * r + 4 : 8 * r + 8], "big")
        counter = (counter * multiplier + increment) % 2**bits
        counter ^= counter >> ((bits + 1) // 2)
    return counter


def test_the_random_parts_are_plain_integer_arithmetic():
    key, start = projection_key(5, 2), 2**24 - 50
    places = _permutation(start, 2**24, 2**24, key, CPU).tolist()
    assert places == [scrambled_in_python(start + k, 24, key, "permutation") for k in range(50)]
    words = [scrambled_in_python(k, 31, key, "signs") for k in range(50)]
    assert _signs(50, key, CPU, torch.float64).tolist() == [1 - 2 * (word >> 30) for word in words]
    words = [scrambled_in_python(k, 31, key, "normals") for k in range(50)]
    expected = norm.ppf((torch.tensor(words, dtype=torch.float64) // 2**19 + 0.5) / 4096)
    torch.testing.assert_close(_normals(0, 50, key, CPU, torch.float64), torch.tensor(expected), rtol=0, atol=2**-20)


def test_the_random_parts_never_change():
    b, pi, g = random_parts(4096, projection_key(0, 0))
    numbers = torch.cat([b.int(), pi.int(), (g * 2**20).int()])
    assert hashlib.sha256(numbers.numpy().tobytes()).hexdigest()[:16] == "8d0b38783275e88b"


def test_other_seeds_and_other_tensors_have_other_projections():
    keys = [projection_key(seed, tensor) for seed in range(20) for tensor in range(20)]
    assert len(set(keys)) == 400
    found = [fastfood_multiply(torch.zeros(64), torch.ones(20), key) for key in keys[:3]]
    assert not any(torch.allclose(found[i], found[j]) for i in range(3) for j in range(i))


def test_nothing_is_kept_for_the_backward_pass():
    kept = []
    theta = torch.randn(30, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda x: x):
        fastfood_multiply(torch.zeros(500), theta, 1).sum().backward()
    assert kept == []
    assert theta.grad.abs().sum() > 0


def test_low_precision_is_rounded_once_at_the_end():
    base, theta = torch.randn(300), torch.randn(50)
    base = base.to(torch.bfloat16)
    expected = fastfood_multiply(base.float(), theta, 1).to(torch.bfloat16)
    assert torch.equal(fastfood_multiply(base, theta, 1), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fastfood_multiply(base, theta, 1), expected)
