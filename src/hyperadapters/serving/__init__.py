"""Answers from saved adapters: one, several in turn, or thousands in one batch.

Read `predictor` first, then `pool` (adapters in slots of one contraction) and `batcher` (rows of many tasks,
batched). May import the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
