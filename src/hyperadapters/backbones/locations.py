"""Where a backbone is stored: inside the package, in a folder, or on the Hub."""

import difflib
import os
from pathlib import Path

from hyperadapters._utils import UnavailableError, ask_hub, expand_path

EMBEDDED = "embedded"
"""The name of the small pretrained T5 that comes with the package."""

_CONFIG = "config.json"
"""The file that every backbone has."""

_ALIKE = 0.7
"""How alike a name must be to "embedded" to be taken for a slip, from 0 to 1."""


def embedded_folder() -> Path:
    """Return the folder of the T5 that comes with the package."""
    return Path(__file__).parent / "embedded"


def find_backbone(name: str) -> str:
    """Return what transformers loads a backbone from, after a look that takes seconds at most; nothing is loaded.

    Args:
        name: a folder, the path of a config.json, a name on the Hub, or "embedded".

    Returns:
        The folder or the path; of a name on the Hub, the name, or its folder in the local Hub cache where the Hub does
        not answer or no longer has it.

    Raises:
        UnavailableError: there is no configuration of it; the error says where was looked.
    """
    source = _resolve_location(name)
    if source != name or Path(source).exists():
        return source
    if difflib.SequenceMatcher(None, name.lower(), EMBEDDED).ratio() >= _ALIKE:
        raise UnavailableError(
            f"backbone {name!r}: there is no such folder, and no model of the Hub has that name. Did you mean "
            f"{EMBEDDED}?"
        )
    answer = ask_hub(name, _CONFIG)
    if answer.state == "found":
        return name
    cached = _cached_folder(name)
    if not cached:
        raise _not_found(name, answer.reason)
    return cached


def _cached_folder(name: str) -> str:
    """Return the folder of the local Hub cache that has a backbone's configuration; empty if there is none."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 (slow to import)
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    try:
        found = try_to_load_from_cache(name, _CONFIG)
    except HFValidationError:
        return ""
    return str(Path(found).parent) if isinstance(found, str) else ""


def _not_found(name: str, reason: str) -> UnavailableError:
    """Return an error that says what was looked for and where, and why it was not found."""
    cache = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "hub"
    return UnavailableError(
        f"backbone {name!r} could not be loaded. Looked for a folder {str(Path(name).absolute())!r}, then for that "
        f"name in the local Hub cache ({cache}) and on the Hugging Face Hub. ({reason[:200]}) "
        f"Give a folder saved by save_pretrained, connect to the network, or use {EMBEDDED!r}."
    )


def _resolve_location(name: str) -> str:
    """Return the folder of a backbone, or its name on the Hub unchanged.

    Raises:
        UnavailableError: the name is a path, and there is no configuration.
    """
    if name == EMBEDDED:
        return str(embedded_folder())
    path = expand_path(name)
    if path.exists() or (os.sep in name.rstrip(os.sep) and name.startswith((".", "~", os.sep))):
        config = path if path.is_file() else path / _CONFIG
        if not config.is_file():
            raise UnavailableError(
                f"backbone {name!r}: no config.json in {path.resolve()}. Give a folder saved by save_pretrained, "
                f"a name on the Hugging Face Hub, or {EMBEDDED!r}."
            )
        return str(path)
    return name
