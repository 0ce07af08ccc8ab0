"""JSON objects in files, with a checksum that every reader compares."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperadapters._utils.errors import InputError
from hyperadapters._utils.files import write_bytes

LARGEST_JSON = 16 * 2**20
"""Bytes; a larger file is refused unread."""

_USUAL_JSON = 2**16
"""Bytes that are asked for at first, because memory is taken for as many as are asked for."""

CHECKSUM = "checksum"
"""What the SHA-256 is called that JSON and tensors are written with."""


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object and its checksum so that a crash leaves the old file or the new one; `read_json` compares it.

    Args:
        path: the file.
        value: what JSON can hold. A file name that is no text in it is written as JSON's escapes.
    """
    text = json.dumps({**value, CHECKSUM: json_digest(value)}, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode(errors="backslashreplace"))


def json_digest(value: Any) -> str:
    """Return the SHA-256 of what a JSON value means, however it is spaced and its keys are ordered."""
    plain = value if _has_text_keys(value) else json.loads(json.dumps(value))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _has_text_keys(value: Any) -> bool:
    """Return whether all keys are texts, as in what was read as JSON; others are sorted as the texts they become."""
    if isinstance(value, dict):
        return all(type(key) is str for key in value) and all(map(_has_text_keys, value.values()))
    return all(map(_has_text_keys, value)) if isinstance(value, list | tuple) else True


def check_json(values: Mapping[str, Any], where: str, *, required: bool = False) -> dict[str, Any]:
    """Return a JSON object without the checksum that `write_json` gave it, after comparing it.

    Args:
        values: the object. One without a checksum was written by hand, or checked before.
        where: where it was found, for errors.
        required: refuse an object without a checksum.

    Raises:
        InputError: something in it was changed after it was written, or it has no checksum though one is required.
    """
    rest = {key: value for key, value in values.items() if key != CHECKSUM}
    if required and CHECKSUM not in values:
        raise InputError(f"{where} has no {CHECKSUM}: it was changed after it was written. Use an intact copy.")
    if CHECKSUM in values and values[CHECKSUM] != json_digest(rest):
        raise InputError(
            f"{where} was changed after it was written: its {CHECKSUM} does not fit its content. Use an intact copy"
            + ("." if required else f"; if the change is meant, remove its {CHECKSUM}.")
        )
    return rest


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, and compare the checksum that `write_json` gave it; one without a checksum is read as it is.

    Raises:
        InputError: there is no such file, it is larger than `LARGEST_JSON`, it holds no JSON object, or it was changed
            after it was written.
    """
    return check_json(read_unchecked_json(path), str(path))


def read_unchecked_json(path: Path) -> dict[str, Any]:
    """Read a JSON object with its checksum, if it has one, which the caller compares by `check_json`.

    Raises:
        InputError: there is no such file, it is larger than `LARGEST_JSON`, or it holds no JSON object.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    try:
        with path.open("rb") as file:
            text = file.read(_USUAL_JSON)
            text += file.read(LARGEST_JSON + 1 - _USUAL_JSON) if len(text) == _USUAL_JSON else b""
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(text) > LARGEST_JSON:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST_JSON:,} are read.")
    return json_object(text, str(path))


def json_object(text: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object that a text holds.

    Args:
        text: UTF-8.
        where: where it was found, for errors.

    Raises:
        InputError: it holds no JSON object.
    """
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or a number of too many digits
        raise InputError(f"{where} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise InputError(f"{where} holds a {type(value).__name__}, not a JSON object.")
    return value
