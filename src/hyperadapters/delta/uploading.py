"""Files of adapters to a repository of the Hugging Face Hub: all is checked before the first is written there."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hyperadapters._utils import InputError, UnavailableError, is_hub_name
from hyperadapters.backbones import is_sharded, on_first_process
from hyperadapters.delta.model_card import CARD, PLACE_IN_CARD, _render_model_card
from hyperadapters.delta.saving import CONFIG, TENSORS, _save_delta

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from hyperadapters.delta.delta import Delta

_FILES_AT_ONCE = 750
"""Files of one commit at most: larger ones take the Hub longer than it gives them."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """Where adapters go on the Hub, and what is said of them there."""

    repository: str
    """`user/name`; it is made unless it exists."""
    revision: str | None = None
    """The branch; it is made unless it exists. None: the main one."""
    private: bool | None = None
    """Whether nobody else may read a new repository; None: as the account has it."""
    token: str | None = None
    """Of the account; None: that of `hf auth login`."""
    commit_message: str = "Upload an adapter of hyperadapters"
    license: str | None = None
    """The licence of the adapter, as the Hub writes it: apache-2.0; None: what the card says."""
    language: str | None = None
    """The language of its texts: en; None: what the card says."""

    @property
    def place(self) -> str:
        """What loads from there: `user/name` or `user/name@revision`."""
        return f"{self.repository}@{self.revision}" if self.revision else self.repository

    def __post_init__(self) -> None:
        """Raise InputError for what is no name of a repository of an account."""
        if self.repository.count("/") != 1 or not is_hub_name(self.repository):
            raise InputError(
                f"{self.repository!r} is no name of a repository of the Hub. Write user/name, of letters, digits, "
                "'-', '_' and '.'."
            )


def _push_delta(delta: "Delta", upload: Upload) -> str:
    """Upload a Delta's files; return the address of the commit.

    Where the backbone is spread over processes, all of them must call it, and the first uploads.
    """
    found: list[str] = []
    with TemporaryDirectory() as place:
        folder = _save_delta(delta, Path(place))
        files: dict[str, Path | bytes] = {name: folder / name for name in (CONFIG, TENSORS, CARD)}

        def write() -> None:
            found.append(upload_files(files, upload))

        if is_sharded(delta.backbone):
            on_first_process(write)
        else:
            write()
    return found[0] if found else ""


def upload_files(files: Mapping[str, Path | bytes], upload: Upload) -> str:
    """Upload files to a repository, in one commit or, of very many files, in several.

    The Hub checks the model card before the repository is made.

    Args:
        files: by their path in the repository, where they lie or what they hold; with a model card. The last are
            uploaded last.
        upload: where they go.

    Returns:
        The address of the commit, of the last one if there are several.

    Raises:
        UnavailableError: the Hub does not answer.
        InputError: the Hub refuses the card, the name or the account; or the repository is public, and is to be
            private.
    """
    from huggingface_hub import CommitOperationAdd, HfApi  # noqa: PLC0415 (slow to import)

    api = HfApi(token=upload.token)
    with _said_by_hub(upload.repository):
        contents = {**files, CARD: _finished_card(files[CARD], upload).encode()}
        _make_repository(api, upload)
        additions = [CommitOperationAdd(path, content) for path, content in contents.items()]
        address = ""
        for start in range(0, len(additions), _FILES_AT_ONCE):
            part = additions[start : start + _FILES_AT_ONCE]
            message, revision = upload.commit_message, upload.revision
            address = api.create_commit(upload.repository, part, commit_message=message, revision=revision).commit_url
    return address


def card_of(folder: Path, config: Mapping[str, Any]) -> bytes:
    """Return the model card of a saved adapter: its README.md, or a new one where there is none.

    Args:
        folder: of the adapter.
        config: its `adapter_config.json`.
    """
    return (folder / CARD).read_bytes() if (folder / CARD).is_file() else _render_model_card(config).encode()


def _finished_card(card: Path | bytes, upload: Upload) -> str:
    """Return a model card that says where the adapter is loaded from, after the Hub has checked its metadata.

    Raises:
        InputError: the metadata cannot be read, or the Hub refuses it.
    """
    from huggingface_hub import ModelCard  # noqa: PLC0415 (slow to import)

    text = (card if isinstance(card, bytes) else card.read_bytes()).decode(errors="replace")
    try:
        finished = ModelCard(text.replace(PLACE_IN_CARD, upload.place))
        for key in ("license", "language"):
            value = getattr(upload, key)
            if value is not None:
                finished.data[key] = value
        finished.validate()
    except ValueError as error:
        raise InputError(f"the model card ({CARD}) cannot be uploaded: {str(error).strip()[:500]}") from error
    return str(finished)


def _make_repository(api: "HfApi", upload: Upload) -> None:
    """Make the repository and the branch unless they exist.

    Raises:
        InputError: the repository exists and is public, and is to be private.
    """
    name = upload.repository
    api.create_repo(name, private=upload.private, exist_ok=True)
    if upload.private and not api.repo_info(name).private:
        raise InputError(f"the repository {name} exists and is public: make it private on its page, or name another.")
    if upload.revision:
        api.create_branch(name, branch=upload.revision, exist_ok=True)


@contextmanager
def _said_by_hub(repository: str) -> Iterator[None]:
    """Turn what the Hub, or the way to it, says against an upload into an error of a few lines."""
    from huggingface_hub import constants, errors  # noqa: PLC0415 (slow to import)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice about the card, such as to name a licence
            yield
    except InputError:
        raise
    except errors.OfflineModeIsEnabled as error:
        raise UnavailableError(f"{repository} cannot be uploaded to: HF_HUB_OFFLINE is set.") from error
    except errors.HfHubHTTPError as error:
        said = (error.server_message or str(error)).strip().splitlines()[0][:300]
        raise InputError(
            f"{repository} cannot be uploaded to: the Hub says {said!r} (status {error.response.status_code}). Log in "
            "with `hf auth login` and a token that may write, and check the name."
        ) from error
    except Exception as error:  # as in `ask_hub`: the HTTP library's errors differ by release of huggingface_hub
        cause = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UnavailableError(
            f"{repository} cannot be uploaded to: the Hub at {constants.ENDPOINT} does not answer as it should: {cause}"
        ) from error
