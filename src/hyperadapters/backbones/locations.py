"""Where a backbone is stored: inside the package, in a folder, or on the Hub."""

import os
from pathlib import Path

from hyperadapters._utils import InputError, expand_path

EMBEDDED = "embedded"
"""The name of the small pretrained T5 that comes with the package."""


def embedded_folder() -> Path:
    """Return the folder of the T5 that comes with the package."""
    return Path(__file__).parent / "embedded"


def resolve_location(name: str) -> str:
    """Return the folder of a backbone, or its name on the Hub unchanged, checked as far as possible offline.

    Args:
        name: a folder, the path of a config.json, a name on the Hub, or "embedded".

    Raises:
        InputError: the name is a path, and there is no configuration.
    """
    if name == EMBEDDED:
        return str(embedded_folder())
    path = expand_path(name)
    if path.exists() or (os.sep in name.rstrip(os.sep) and name.startswith((".", "~", os.sep))):
        config = path if path.is_file() else path / "config.json"
        if not config.is_file():
            raise InputError(
                f"backbone {name!r}: no config.json in {path.resolve()}. Give a folder saved by save_pretrained, "
                f"a name on the Hugging Face Hub, or {EMBEDDED!r}."
            )
        return str(path)
    return name
