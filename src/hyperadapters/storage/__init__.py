"""Saved adapters: reading them, and checking them against a backbone before anything is touched.

Read `loading`. Writing is `Delta.save`. May import the packages above, `methods` included.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
