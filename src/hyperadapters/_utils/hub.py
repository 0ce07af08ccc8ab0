"""Names of the Hugging Face Hub, and one short question to it: is a repository there?"""

import os
import re
import time
from typing import Literal, NamedTuple

from hyperadapters._utils.paths import expand_path

_SECONDS = 5.0
"""How long an answer is waited for, unless HF_HUB_ETAG_TIMEOUT says otherwise."""

_SILENCE = 60.0
"""For so many seconds, a Hub that did not answer is not asked again."""


class HubAnswer(NamedTuple):
    """What the Hub says of a repository."""

    state: Literal["found", "absent", "silent"]
    """`silent`: it did not answer."""
    reason: str = ""
    """Why it is not found, in words."""


_silent: dict[str, tuple[float, HubAnswer]] = {}
"""By address of the Hub: when it last did not answer, and what was found then."""


_SNAPSHOT = re.compile(r".*/models--(.+)/snapshots/[0-9a-f]{40}/?")
"""The folder of a repository in the local Hub cache, which is named after it."""


def hub_name(place: str) -> str:
    """Return the name on the Hub of what lies at a place; empty where the place is a path or cannot be a name.

    Args:
        place: a name on the Hub, or a folder; one of the local Hub cache has the name of its repository.
    """
    cached = _SNAPSHOT.fullmatch(place)
    if cached:
        return cached[1].replace("--", "/")
    return "" if not is_hub_name(place) or expand_path(place).exists() else place


def is_hub_name(text: str) -> bool:
    """Return whether a text can be the name of a repository of the Hub, such as gpt2 or google-t5/t5-base."""
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415 (slow to import)
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined] # noqa: PLC0415

    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def ask_hub(
    repository: str, file: str, *, kind: Literal["model", "dataset"] = "model", revision: str = ""
) -> HubAnswer:
    """Return whether the Hub has a file of a repository, by one request of a few seconds at most.

    A download tries a Hub that does not answer again and again, for half a minute for every file.

    Args:
        repository: its name, such as `google-t5/t5-base`.
        file: of a model: one that it needs. A data set is found without it too.
        kind: of repository.
        revision: a branch, a tag or a commit; empty: the main branch.
    """
    from huggingface_hub import constants  # noqa: PLC0415 (slow to import)

    since, known = _silent.get(constants.ENDPOINT, (0.0, None))
    if known and time.monotonic() - since < _SILENCE:
        return known
    answer = _request(repository, file, kind, revision)
    if answer.state == "silent":
        _silent[constants.ENDPOINT] = (time.monotonic(), answer)
    return answer


def _request(repository: str, file: str, kind: Literal["model", "dataset"], revision: str) -> HubAnswer:
    """Return the answer to one request."""
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url  # noqa: PLC0415 (slow to import)

    try:
        url = hf_hub_url(repository, file, repo_type=kind, revision=revision or None)
        get_hf_file_metadata(url, timeout=float(os.environ.get("HF_HUB_ETAG_TIMEOUT", _SECONDS)))
    except errors.OfflineModeIsEnabled:
        return HubAnswer("silent", "the Hub is not asked: HF_HUB_OFFLINE is set")
    except Exception as error:  # the HTTP library, and with it some of its errors, differ by release of huggingface_hub
        refusal = _refusal(error, file, kind)
        if refusal is not None:
            return HubAnswer("absent", refusal) if refusal else HubAnswer("found")
        cause = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        return HubAnswer("silent", f"the Hub at {constants.ENDPOINT} does not answer: {cause}")
    return HubAnswer("found")


def _refusal(error: Exception, file: str, kind: Literal["model", "dataset"]) -> str | None:
    """Return, in words, why the Hub refuses; empty where it has the repository, None where it says neither."""
    from huggingface_hub import errors  # noqa: PLC0415 (slow to import)

    what = "model" if kind == "model" else "data set"
    reasons: dict[type[Exception], str] = {  # the first that fits: a gated repository is also one that is not found
        errors.GatedRepoError: "access must be granted on its page, and then `hf auth login`",
        errors.RepositoryNotFoundError: f"the Hub has no such {what}, or it is private: then `hf auth login`",
        errors.RevisionNotFoundError: "on the Hub it has no such revision",
        errors.EntryNotFoundError: f"on the Hub it has no {file}" if kind == "model" else "",
        errors.HFValidationError: "that is no name of the Hub, such as google-t5/t5-base",
    }
    return next((reason for type_, reason in reasons.items() if isinstance(error, type_)), None)
