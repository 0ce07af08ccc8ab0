"""Versions of what a result or an adapter was made with."""

import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """This package, Python, and the libraries that decide numbers."""
    packages = ("hyperadapters", "torch", "transformers", "accelerate")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
