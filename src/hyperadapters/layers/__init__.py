"""Tensor code of the papers: Kronecker products, bottlenecks, hypernetworks, random projections, dropout masks.

Read `matrices` first: it computes the weights of all sites in one contraction. `adapter_index` says which adapter each
row of a batch uses. The code here knows tensors and shapes, but no transformer. It may import `_utils` only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
