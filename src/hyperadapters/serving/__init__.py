"""Answers from saved adapters: one, several in turn, or thousands in one batch.

Read `predictor` first, then `pool` (adapters in the slots of one Delta) and `folder_predictor` (a folder of adapters
answers rows of many tasks); `saved_tasks` reads what an adapter says of its task. May import the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
