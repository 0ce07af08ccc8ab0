"""From rows to a trained and scored Delta.

Read `fitting` (`fit`) and `trainer` (the loop) first; `schedule`, `training_batches`, `checkpoint` and
`compile_policy` each hold one part of what the loop does. `data` loads rows; `encoding` and the module of each kind of
backbone turn rows into tokens, a batch into losses and logits into answers; `evaluation` scores them, `profiling`
measures and counts. May import the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
