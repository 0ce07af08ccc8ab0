"""Errors, files, settings and text: what every package uses and nothing about adapters.

Read `errors` first (every mistake of a user is an `InputError`), then `settings` (dataclasses from and to JSON) and
`files` (written whole or not at all; JSON and safetensors only). Imports no other package.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
