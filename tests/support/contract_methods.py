"""The methods of the contract suite: the presets, with a projection that suits a tiny backbone."""

import hyperadapters
from hyperadapters.methods.said import IntrinsicSAID

METHODS = {
    **hyperadapters.METHODS,
    "intrinsic-said": IntrinsicSAID(intrinsic_dim=500),
    "hyper-side": hyperadapters.HyperSideAdapter(bottleneck=8),
}
"""The preset's 20,000 numbers are a fifth of all weights of a tiny backbone, and take most of the suite's time. A moved
hypernetwork writes large queries and keys, and a softmax of large numbers magnifies rounding; a narrow ladder's are
smaller."""
