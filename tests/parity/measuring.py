"""Fixtures: how far two sets of tensors are apart, and computing in float64 throughout."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor
from transformers.models.t5.modeling_t5 import T5LayerNorm

LIMIT = 1e-12
"""The largest deviation that counts as agreement in float64; what was measured stands in docs/parity.md."""


def deviation(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest number of what is expected."""
    assert found.shape == expected.shape
    return ((found - expected).abs().max() / expected.abs().max()).item()


Agree = Callable[..., None]


@pytest.fixture(name="agree")
def agreement() -> Agree:
    """A check that tensors agree. It prints the largest deviation, which `pytest -n 0 -rP tests/parity` shows."""

    def compare(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], limit: float = LIMIT) -> None:
        assert found.keys() == expected.keys()
        apart = {name: deviation(found[name], expected[name]) for name in found}
        print(f"largest deviation: {max(apart.values()):.1e}")
        assert {name: value for name, value in apart.items() if not value < limit} == {}

    return compare


@pytest.fixture(name="float64")
def float64_throughout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variance in T5's norms, which transformers computes in float32 whatever the type, is not rounded to that."""

    def forward(self: T5LayerNorm, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    monkeypatch.setattr(T5LayerNorm, "forward", forward)
