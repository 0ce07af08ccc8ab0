"""Doors into other libraries' loops: PEFT, and through it TRL and everything else that takes a configuration of PEFT.

Read `peft_config`, then `peft_tuner`. May import `_utils`, `layers`, `backbones`, `delta`, `methods` and `storage`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
