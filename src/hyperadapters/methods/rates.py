"""Learning rates to start from."""

from hyperadapters.backbones import EMBEDDED
from hyperadapters.delta import Method
from hyperadapters.methods.adapters import Adapter, Compacter, LowRankAdapter, PHMAdapter
from hyperadapters.methods.full import FullFineTuning, FullMultiTask
from hyperadapters.methods.hyperformer import (
    AdaptersMultiTask,
    HyperCompacter,
    HyperFormer,
    HyperFormerPlusPlus,
    HyperPHM,
)

EMBEDDED_RATES = {
    FullFineTuning: 3e-4,
    FullMultiTask: 3e-4,
    Adapter: 3e-3,
    LowRankAdapter: 1e-2,
    PHMAdapter: 1e-2,
    Compacter: 1e-2,
    AdaptersMultiTask: 3e-3,
    HyperFormer: 3e-4,
    HyperFormerPlusPlus: 3e-4,
    HyperCompacter: 1e-3,
    HyperPHM: 3e-4,
}
"""For the T5 inside the package, a sixtieth of T5-base, by validation on demo tasks (docs/embedded.md)."""


def suggested_rate(method: Method, backbone: str) -> float:
    """The learning rate to start from: the method's own, found at T5-base, or what suits the embedded T5."""
    return EMBEDDED_RATES.get(type(method), method.learning_rate) if backbone == EMBEDDED else method.learning_rate
