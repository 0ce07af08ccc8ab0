"""Where a backbone lies: the one inside the package, a folder, or a name on the Hub."""

import os
from pathlib import Path

from hyperadapters._utils import InputError

EMBEDDED = "embedded"
"""The name of the small pretrained T5 that comes with the package."""


def embedded_folder() -> Path:
    """Where the T5 that comes with the package lies."""
    return Path(__file__).parent / "embedded"


def resolve_location(name: str) -> str:
    """A folder or the name of a repository on the Hub, checked as far as can be done without a network."""
    if name == EMBEDDED:
        return str(embedded_folder())
    path = Path(name).expanduser()
    if path.exists() or (os.sep in name.rstrip(os.sep) and name.startswith((".", "~", os.sep))):
        config = path if path.is_file() else path / "config.json"
        if not config.is_file():
            raise InputError(
                f"backbone {name!r}: no config.json in {path.resolve()}. Give a folder saved by save_pretrained, "
                f"a name on the Hugging Face Hub, or {EMBEDDED!r}."
            )
        return str(path)
    return name
