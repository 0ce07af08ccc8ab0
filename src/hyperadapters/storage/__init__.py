"""Saved adapters: reading them, and checking them against a backbone before anything is changed.

Read `loading`; writing is `Delta.save`. May import `_utils`, `layers`, `backbones`, `delta` and `methods`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
