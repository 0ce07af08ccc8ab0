"""The Delta: what is trained, measured, saved and switched, and how it reaches the backbone.

Read the two contracts first: `method` (a frozen dataclass that builds parts) and `part` (a group of trained tensors
and the hooks that put them to work). Then `delta`, and `generation`, which decides when weights are made.
`adapters_at_sites`, `owned_tensors`, `shadowing` and `whole_backbone` are the ways to reach a backbone. May import
the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
