"""The adapter formula, written out."""

import pytest
import torch

from hyperadapters.layers.bottleneck import _ACTIVATIONS, AdapterWeights, bottleneck_adapter


@pytest.mark.parametrize("activation", _ACTIVATIONS)
def test_the_adapter_is_up_of_activation_of_down_plus_its_input(activation):
    torch.manual_seed(0)
    d, h = 6, 10
    weights = AdapterWeights(torch.randn(h, d), torch.randn(d), torch.randn(d, h), torch.randn(h))
    y = torch.randn(2, 3, h)
    functions = {
        "gelu_new": lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
        "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
        "relu": lambda x: x.clamp(min=0),
        "identity": lambda x: x,
        "silu": lambda x: x * torch.sigmoid(x),
    }
    hidden = functions[activation](y @ weights.down + weights.down_bias)
    expected = hidden @ weights.up + weights.up_bias + y
    torch.testing.assert_close(bottleneck_adapter(y, weights, activation), expected)


def test_float32_weights_serve_a_bfloat16_backbone():
    weights = AdapterWeights(torch.zeros(10, 6), torch.zeros(6), torch.zeros(6, 10), torch.zeros(10))
    y = torch.randn(2, 10, dtype=torch.bfloat16)
    assert torch.equal(bottleneck_adapter(y, weights, "gelu_new"), y)
