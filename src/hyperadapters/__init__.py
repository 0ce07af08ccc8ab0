"""Adapt one frozen pretrained transformer to thousands of tasks, at a few hundred kilobytes each.

The public names stand in `__init__.pyi`; each is imported when it is first used, so that the command line starts fast.
"""

import lazy_loader

from hyperadapters.bridges.peft_import import _register_with_peft

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_register_with_peft()
