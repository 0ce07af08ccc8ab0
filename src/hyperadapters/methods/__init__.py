"""The methods: one file per family, with its presets and the learning rates to start from.

Read `adapters` first (Houlsby, Pfeiffer, AdapterDrop, low-rank, PHM, Compacter). A new method is a new file in this
package; `registry` finds it. May import `_utils`, `layers`, `backbones` and `delta`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
