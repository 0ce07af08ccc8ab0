"""Saved adapters to the Hugging Face Hub: one, or a folder of many with an index of their tasks."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hyperadapters._utils import InputError, collect_errors, expand_path, find_files, write_json
from hyperadapters.delta import (
    CARD,
    CONFIG,
    PLACE_IN_CARD,
    TENSORS,
    Upload,
    card_of,
    deciding_digest,
    needs_own_backbone,
    render_collection_card,
    upload_files,
)
from hyperadapters.storage.collection import INDEX, _index_of
from hyperadapters.storage.loading import read_adapter, read_config


class _Pushed(NamedTuple):
    """What was uploaded."""

    address: str
    """Of the commit; of the last one if there are several."""
    adapters: int
    """How many adapters."""
    own_backbone: str
    """A backbone that they need, if that is not on the Hub as far as its name tells; empty: it is."""


def push_adapters(folder: str | Path, upload: Upload) -> _Pushed:
    """Upload a saved adapter, or all adapters of a folder: their two files and model cards, and nothing else there.

    Of many adapters, the repository has an index of their tasks, which is uploaded last.

    Args:
        folder: what `Delta.save` or `hyperadapters train` wrote, or a folder with such folders in it.
        upload: where they go.

    Raises:
        InputError: there is no adapter, or some are damaged (all of them in one error); or as `upload_files`. Nothing
            has been uploaded then.
    """
    folder = expand_path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no adapter at {folder}: no such folder.")
    places = [folder] if (folder / CONFIG).is_file() else [path.parent for path in find_files(folder, CONFIG)]
    if not places:
        raise InputError(f"there is no adapter at {folder}: neither it nor a folder in it has an {CONFIG}.")
    found = dict(zip(places, collect_errors(_check_whole, places), strict=True))
    own = [config["backbone"]["name"] for config in found.values() if needs_own_backbone(config)]
    files: dict[str, Path | bytes] = {}
    for place, config in found.items():
        files |= _files_of(place, config, place.relative_to(folder).as_posix(), upload)
    with TemporaryDirectory() as temporary:
        if places != [folder]:
            files |= _files_of_all(folder, found, Path(temporary))
        return _Pushed(upload_files(files, upload), len(found), next(iter(own), ""))


def _check_whole(folder: Path) -> dict[str, Any]:
    """Return the config of a saved adapter, after checking that its tensors are whole and belong to it."""
    config = read_config(folder)
    read_adapter(folder, deciding_digest(config))
    return config


def _files_of(folder: Path, config: Mapping[str, Any], place: str, upload: Upload) -> dict[str, Path | bytes]:
    """Return the files of an adapter, by their path in the repository.

    Args:
        folder: of the adapter.
        config: its `adapter_config.json`.
        place: its sub-folder in the repository; ".": it has the repository for itself.
        upload: where it goes.
    """
    card = card_of(folder, config)
    if place == ".":
        return {CONFIG: folder / CONFIG, TENSORS: folder / TENSORS, CARD: card}
    several = " --task " if config["tasks"] else ""
    repository, name = json.dumps(upload.place), json.dumps(place)
    told = {
        f'"{PLACE_IN_CARD}"': f"ha.fetch_adapters({repository}, [{name}])[{name}]",
        f"{PLACE_IN_CARD}{several}": f"{upload.place} --task {shlex.quote(place)}{'/' if several else ''}",
    }
    for before, after in told.items():
        card = card.replace(before.encode(), after.encode())
    return {f"{place}/{CONFIG}": folder / CONFIG, f"{place}/{TENSORS}": folder / TENSORS, f"{place}/{CARD}": card}


def _files_of_all(folder: Path, found: Mapping[Path, Mapping[str, Any]], temporary: Path) -> dict[str, Path | bytes]:
    """Return the card and the index of a repository with many adapters; the index is written to a temporary folder."""
    configs = {place.relative_to(folder).as_posix(): config for place, config in found.items()}
    index = _index_of(configs)
    write_json(temporary / INDEX, index)
    card = (
        (folder / CARD).read_bytes() if (folder / CARD).is_file() else render_collection_card(configs, index["tasks"])
    )
    return {CARD: card, INDEX: temporary / INDEX}
