"""Versions of what a result or an adapter was made with."""

import platform
from importlib.metadata import version

import hyperadapters


def library_versions() -> dict[str, str]:
    """This package, which need not be installed, Python, and the libraries that decide numbers."""
    others = {name: version(name) for name in ("torch", "transformers", "accelerate")}
    return {"python": platform.python_version(), "hyperadapters": hyperadapters.__version__, **others}
