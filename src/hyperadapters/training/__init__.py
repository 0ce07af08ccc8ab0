"""From rows to a trained and scored Delta.

Read `fitting` (`fit`) and `trainer` first, then `evaluation`. `encoding` and the module of each kind of backbone turn
rows into tokens, a batch into losses, and logits into answers; `data` and `batching` say which rows make a batch. May
import the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
