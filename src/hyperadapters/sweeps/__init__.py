"""Many runs: a list of experiments, carried out by processes, a cluster, or together on one backbone.

Read `plan` (what a sweep's file says) and `sweeping` first; `executors`, `worker` and `ray_cluster` carry runs out,
`packing` trains several in one pass, `selection` chooses settings, `forecasting` says how long it takes. May import
the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
