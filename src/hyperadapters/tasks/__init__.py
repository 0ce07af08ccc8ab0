"""Tasks as data: text, labels, splits, metrics, and where rows come from.

Read `task` first, then `glue` as an example; `readers` reads a user's own files, `sources` the official ones. A new
task is one entry in a file here; `registry` finds it. May import `_utils` alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
