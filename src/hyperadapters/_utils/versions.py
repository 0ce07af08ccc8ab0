"""The versions with which a result or an adapter was made."""

import platform
from importlib.metadata import version

import hyperadapters


def library_versions() -> dict[str, str]:
    """Return the versions of this package (installed or not), of Python and of the libraries that decide numbers."""
    others = {name: version(name) for name in ("torch", "transformers", "accelerate")}
    return {"python": platform.python_version(), "hyperadapters": hyperadapters.__version__, **others}
