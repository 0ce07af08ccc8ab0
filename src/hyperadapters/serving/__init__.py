"""Answers from saved adapters: one, several in turn, or thousands in one batch.

Read `predictor` first, then `pool` (adapters in slots of one Delta), `catalogue` (what a folder of adapters answers)
and `loaded_adapters` (what computes it); `folder_predictor` answers files with these two, and the package `server`
requests. `saved_tasks` reads what an adapter says of its task. May import the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
