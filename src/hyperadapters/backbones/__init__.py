"""Pretrained transformers: loading them, finding their adapter sites, telling them apart by fingerprint.

Read `structure` first (`ModelStructure` is all that a method knows of a backbone), then `sites` and `loading`. Some
modules make a backbone cheaper to run or to keep in memory: `optimized_dropout`, `optimized_attention`, `compilation`,
`checkpointing`, `offloading`, `skipping`. May import `_utils` and `layers`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
