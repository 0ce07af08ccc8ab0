"""Adapters in repositories of the Hugging Face Hub: fetched into the local Hub cache, or found there."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hyperadapters._utils import InputError, UnavailableError, ask_hub, expand_path, is_hub_name
from hyperadapters.delta import CARD, CONFIG, TENSORS

_ADAPTERHUB_FILES = ("adapter.safetensors", "pytorch_adapter.bin")
_HEAD_FILES = ("model_head.safetensors", "pytorch_model_head.bin")
_HEAD_CONFIG = "head_config.json"
"""What AdapterHub's library calls the files of an adapter and of a head, the safe ones first."""

_FILES = (CONFIG, TENSORS, CARD, *_ADAPTERHUB_FILES, *_HEAD_FILES, _HEAD_CONFIG)
"""The files of an adapter, which alone are fetched."""


class _Repository(NamedTuple):
    """A repository of the Hub at a revision."""

    name: str
    revision: str
    """A branch, a tag or a commit; empty: the main branch."""


def locate_adapter(place: str | Path) -> Path:
    """Return the folder of an adapter; one on the Hub is fetched first.

    A folder that exists comes before a repository of that name. The Hub is asked by one request of a few seconds; where
    it does not answer or no longer has the repository, the local Hub cache is used.

    Args:
        place: a folder, or `user/name` or `user/name@revision` of a repository.

    Raises:
        InputError: there is no such folder, and it is no name of a repository.
        UnavailableError: the repository is not there, has no adapter, or needs access; or the Hub does not answer, and
            it is not in the local cache.
    """
    folder = expand_path(place)
    if folder.is_dir():
        return folder
    repository = None if folder.exists() else _parse_repository(str(place))
    if repository is None:
        raise InputError(f"there is no adapter at {folder}: no such folder.")
    return _fetch_files(repository, CONFIG, _FILES)


def _parse_repository(place: str) -> _Repository | None:
    """Return the repository that `user/name` or `user/name@revision` names; None: it is written otherwise."""
    found = re.fullmatch(r"([^/@]+/[^/@]+)(?:@(.+))?", place)
    return _Repository(found[1], found[2] or "") if found and is_hub_name(found[1]) else None


def _fetch_files(repository: _Repository, marker: str, patterns: Sequence[str]) -> Path:
    """Return the folder of the local Hub cache with files of a repository, fetched as far as they are not there.

    Args:
        repository: on the Hub.
        marker: the file without which the repository is not what is looked for.
        patterns: the files to fetch.

    Raises:
        UnavailableError: it is neither on the Hub nor in the cache.
    """
    answer = ask_hub(repository.name, marker, revision=repository.revision)
    reason = answer.reason
    if answer.state == "found":
        try:
            return _download(repository, patterns)
        except Exception as error:  # as in `ask_hub`: the HTTP library's errors differ by release of huggingface_hub
            reason = f"the download failed: {(str(error).strip() or type(error).__name__).splitlines()[0][:200]}"
    cached = _cached_folder(repository, marker, patterns)
    if cached:
        return cached
    shown = f"{repository.name}@{repository.revision}" if repository.revision else repository.name
    raise UnavailableError(
        f"there is no adapter at {shown}: no such folder, and none of that name on the Hugging Face Hub or in the "
        f"local Hub cache ({reason}). Give the folder of an adapter, or user/name[@revision] of a repository."
    )


def _download(repository: _Repository, patterns: Sequence[str], **options: Any) -> Path:
    """Return the folder of the local cache that `snapshot_download` fetches files into."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (slow to import)

    revision = repository.revision or None
    return Path(snapshot_download(repository.name, revision=revision, allow_patterns=[*patterns], **options))


def _cached_folder(repository: _Repository, marker: str, patterns: Sequence[str]) -> Path | None:
    """Return the folder of the local cache that an earlier download fetched these files into, if there is one."""
    try:
        folder = _download(repository, patterns, local_files_only=True)
    except OSError:  # nothing is cached, or not all
        return None
    return folder if (folder / marker).is_file() and os.access(folder / marker, os.R_OK) else None
