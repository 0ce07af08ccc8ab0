"""How the hypernetworks start."""

import pytest
import torch

from hyperadapters.layers.hypernetwork import SharedGenerator, SiteGenerators, Written

SCALE = {"scale": Written((768,), 0.01)}


def spread(std):
    """The standard deviation of what HyperFormer generates at first for norms of width 768, over 50 tasks and sites."""
    network = SiteGenerators(512, 50, SCALE, project=True, projector_std=std)
    with torch.no_grad():
        return network(torch.randn(50, 512))["scale"].std().item()


def test_hyperformers_first_scales_have_the_published_spread():
    """By hand: W₁z has √512·0.01 = 0.226, half of its square is left by ReLU, W₂ makes √(128/2)·0.01·0.226 = 0.0181 of
    it, and the generator √64·0.01·0.0181 = 0.00145.
    """
    assert spread(0.01) == pytest.approx(0.00145, rel=0.15)
    assert spread(None) == pytest.approx(0.0188, rel=0.15)


@pytest.mark.parametrize("std", [0.01, None])
def test_a_projector_starts_as_published_or_as_a_linear_layer_does(std):
    network = SharedGenerator(64, [0, 0, 1, 1], [0, 1, 0, 1], SCALE, project=True, projector_std=std)
    first, last = network.projector[0][0], network.projector[0][2]
    for layer, width in ((first, 192), (last, 128)):
        expected = std or 1 / (3 * width) ** 0.5
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)
        assert (layer.bias.abs().sum() == 0) == (std is not None)


def test_hyperformer_plus_plus_generates_as_much_however_its_projector_starts():
    """Its layer norm comes after the projector: √64·0.01 = 0.08."""
    for std in (0.01, None):
        network = SharedGenerator(64, [0, 0, 1, 1], [0, 1, 0, 1], SCALE, project=True, projector_std=std)
        with torch.no_grad():
            assert network(torch.randn(50, 64))["scale"].std().item() == pytest.approx(0.08, rel=0.15)
