"""The stand-in of the Hub in this process, set where huggingface_hub keeps what it read from the environment."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hub_server import TOKEN
from huggingface_hub import close_session, constants

from hyperadapters._utils import hub


class _Records(logging.Handler):
    """Keeps what huggingface_hub warns of."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def hub_settings(endpoint: str, home: Path, *, token: str = TOKEN, offline: bool = False) -> Iterator[None]:
    """Ask the Hub at an address, with a cache and a token of its own; fail where a request is tried again.

    Args:
        endpoint: the address.
        home: the folder of the cache and all else that huggingface_hub keeps.
        token: of the account.
        offline: whether it is not asked at all.
    """
    records, logger = _Records(), logging.getLogger("huggingface_hub")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in list(vars(constants).items()):
            if isinstance(value, str) and value.startswith(constants.HF_HOME):
                patch.setattr(constants, name, value.replace(constants.HF_HOME, str(home), 1))
        patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        patch.setattr(constants, "ENDPOINT", endpoint)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HUB_OFFLINE", offline)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(hub, "_silent", {})
        patch.setenv("HF_HUB_CACHE", str(home / "hub"))
        patch.setenv("HF_TOKEN", token)
        logger.addHandler(records)
        close_session()  # its connections may lead to another stand-in
        try:
            yield
        finally:
            close_session()
            logger.removeHandler(records)
    assert not [text for text in records.texts if "Retrying" in text]
