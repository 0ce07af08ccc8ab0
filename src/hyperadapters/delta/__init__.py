"""The Delta: the adapter that is trained, saved and switched, and the ways it changes a backbone's computation.

Read the two abstract classes first: `method` (a frozen dataclass that builds parts) and `part` (a group of trained
tensors and the hooks that apply them). Then read `delta`, and `generation`, which decides when weights are computed.
`adapters_at_sites`, `owned_tensors` and `shadowing` are ways to apply weights to a backbone. May import `_utils`,
`layers` and `backbones`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
