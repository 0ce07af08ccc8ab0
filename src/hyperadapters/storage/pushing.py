"""A saved adapter to the Hugging Face Hub."""

from pathlib import Path
from typing import Any, NamedTuple

from hyperadapters._utils import InputError, expand_path
from hyperadapters.delta import (
    CARD,
    CONFIG,
    TENSORS,
    Upload,
    card_of,
    deciding_digest,
    needs_own_backbone,
    upload_files,
)
from hyperadapters.storage.loading import read_adapter, read_config


class Pushed(NamedTuple):
    """What was uploaded."""

    address: str
    """Of the commit."""
    own_backbone: str
    """The backbone that it needs, if that is not on the Hub as far as its name tells; empty: it is."""


def push_adapter(folder: str | Path, upload: Upload) -> Pushed:
    """Upload a saved adapter: its two files and its model card, and nothing else that lies in its folder.

    Args:
        folder: what `Delta.save` or `hyperadapters train` wrote.
        upload: where it goes.

    Raises:
        InputError: there is no adapter, or it is damaged; or as `upload_files`. Nothing has been uploaded then.
    """
    folder = expand_path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no adapter at {folder}: no such folder.")
    config = _check_whole(folder)
    address = upload_files({CONFIG: folder / CONFIG, TENSORS: folder / TENSORS, CARD: card_of(folder, config)}, upload)
    return Pushed(address, config["backbone"]["name"] if needs_own_backbone(config) else "")


def _check_whole(folder: Path) -> dict[str, Any]:
    """Return the config of a saved adapter, after checking that its tensors are whole and belong to it."""
    config = read_config(folder)
    read_adapter(folder, deciding_digest(config))
    return config
