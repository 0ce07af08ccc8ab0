"""Tables, figures and pages from results.

Read `estimates` first (what a difference is worth), then `writing`. Everything here is a function of result files.
May import the packages above.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
