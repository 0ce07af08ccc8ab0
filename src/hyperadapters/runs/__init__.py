"""One run as data: an experiment in, a result out, both JSON.

Read `experiment`, then `running` (`run`: load, attach, train, score, save); `building` makes the objects of a run,
`finishing` ends it, `warm_start` goes on from a saved adapter. May import the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
