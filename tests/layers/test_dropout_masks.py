"""Dropout from random 16-bit numbers: its probability, its independence, its seed."""

import math

import pytest
import torch
from torch import nn

from hyperadapters.layers.dropout_masks import _LEVELS, FastDropout, _dropout_noise

COUNT = 1_000_000


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_elements_are_dropped_with_the_probability_asked_for(p):
    dropped = (_dropout_noise(torch.empty(COUNT), p) == 0).sum().item()
    assert abs(dropped - COUNT * p) < 5 * math.sqrt(COUNT * p * (1 - p))


@pytest.mark.parametrize("p", [0.1, 1 / 3])
def test_the_rest_is_scaled_so_that_the_mean_stays(p):
    kept = _dropout_noise(torch.empty(1000), p).unique().tolist()
    q = round(p * _LEVELS) / _LEVELS
    assert abs(q - p) <= 2**-17
    assert kept == [0, pytest.approx(1 / (1 - q), rel=1e-6)]


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 5, 64])
def test_elements_are_dropped_independently_of_their_neighbours(distance):
    """The elements that share a 64-bit word are 1 to 3 apart."""
    dropped = (_dropout_noise(torch.empty(COUNT), 0.5) == 0).double() - 0.5
    correlation = 4 * (dropped[distance:] * dropped[:-distance]).mean().item()
    assert abs(correlation) < 5 / math.sqrt(COUNT)


@pytest.mark.parametrize("place", range(4))
def test_each_place_in_a_word_has_the_same_probability(place):
    dropped = (_dropout_noise(torch.empty(4 * COUNT), 0.5)[place::4] == 0).sum().item()
    assert abs(dropped - COUNT / 2) < 5 * math.sqrt(COUNT / 4)


def test_noise_is_a_function_of_the_generators_state():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = _dropout_noise(torch.empty(7, 9), 0.4), _dropout_noise(torch.empty(7, 9), 0.4)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(_dropout_noise(torch.empty(7, 9), 0.4), first)
    assert torch.equal(_dropout_noise(torch.empty(7, 9), 0.4), second)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_noise_has_the_shape_and_type_of_what_it_is_for(shape, dtype):
    noise = _dropout_noise(torch.empty(shape, dtype=dtype), 0.5)
    assert noise.shape == shape
    assert noise.dtype == dtype


@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="a probability"):
        _dropout_noise(torch.empty(1), p)


def test_the_gradient_passes_where_the_output_does():
    x = torch.randn(50, requires_grad=True)
    out = FastDropout(0.5)(x)
    out.sum().backward()
    assert torch.equal(out.detach(), x.detach() * x.grad)


def test_evaluation_and_probability_zero_draw_nothing():
    x, state = torch.randn(5), torch.get_rng_state()
    assert FastDropout(0.5).eval()(x) is x
    assert FastDropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_what_holds_no_tensors_replaces_what_holds_none():
    assert list(FastDropout(0.5).state_dict()) == list(nn.Dropout(0.5).state_dict()) == []
