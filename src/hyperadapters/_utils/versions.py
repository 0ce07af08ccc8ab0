"""The versions with which a result or an adapter was made."""

import functools
import platform
from importlib.metadata import version

import hyperadapters

_installed = functools.cache(version)  # each look reads a package's metadata anew


def library_versions() -> dict[str, str]:
    """Return the versions of this package (installed or not), of Python and of the libraries that decide numbers."""
    others = {name: _installed(name) for name in ("torch", "transformers", "accelerate")}
    return {"python": platform.python_version(), "hyperadapters": hyperadapters.__version__, **others}
