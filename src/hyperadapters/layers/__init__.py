"""Tensor code of the papers: Kronecker products, bottlenecks, hypernetworks, random projections, dropout masks.

Read `matrices` first: it makes the weights of all sites in one contraction. `adapter_index` says which adapter each
row of a batch uses. Knows tensors and shapes, and no transformer; imports `_utils` alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
