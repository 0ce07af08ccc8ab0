"""Frozen dataclasses to and from JSON and the command line, strictly: types checked, unknown keys named."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError

from hyperadapters._utils.errors import InputError, neighbours

T = TypeVar("T")


@functools.cache
def _adapter(cls: Any, field: str) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(cls)[field])


def dump(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass as plain JSON values."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return values


def updated(settings: T, changes: Mapping[str, Any], where: str) -> T:
    """A copy with some fields changed; values may be text, as the command line gives them.

    Args:
        settings: a frozen dataclass.
        changes: field name -> new value.
        where: what errors call it, such as "method".

    Raises:
        InputError: unknown fields or values of a wrong type, all of them in one error.
    """
    return dataclasses.replace(settings, **typed(type(settings), changes, where))  # type: ignore[type-var]


def typed(cls: type, changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values for fields of a dataclass, of their types; as `updated` takes them.

    Raises:
        InputError: as `updated`.
    """
    known = [field.name for field in dataclasses.fields(cls)]
    problems, values = [], {}
    for key, value in changes.items():
        if key not in known:
            problems.append(f"{where}.{key}: {cls.__name__} has no such field. {neighbours(key, known)}")
            continue
        try:
            values[key] = _adapter(cast(Any, cls), key).validate_python(_plain(cls, key, value))
        except ValidationError as error:
            expected = str(get_type_hints(cls)[key]).replace("typing.", "").replace("<class '", "").replace("'>", "")
            problems.append(f"{where}.{key}={value!r}: {error.errors()[0]['msg'].lower()} (the field is {expected})")
    if problems:
        raise InputError("\n  ".join(problems))
    return values


def _plain(cls: type, key: str, value: Any) -> Any:
    """Text for a field that is no text: JSON where it reads as such, commas for a list."""
    kind = get_type_hints(cls)[key]
    if not isinstance(value, str) or kind is str:
        return value
    if "tuple" in str(kind) and not value.startswith("["):
        return [part for part in value.split(",") if part]
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def parse(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """A dataclass from its JSON form; every field must be there and of its type.

    Raises:
        InputError: what is missing, unknown or of a wrong type.
    """
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    missing = [field.name for field in fields if field.name not in values]
    if missing:
        raise InputError(f"{where}: {cls.__name__} lacks {', '.join(missing)}.")
    unknown = [key for key in values if key not in {field.name for field in fields}]
    if unknown:
        known = [field.name for field in fields]
        raise InputError("\n  ".join(f"{where}.{key}: unknown field. {neighbours(key, known)}" for key in unknown))
    found = {}
    for key, value in values.items():
        try:
            found[key] = _adapter(cast(Any, cls), key).validate_python(value)
        except ValidationError as error:
            detail = error.errors()[0]
            said = f"{detail['msg'].lower()}, but there is {detail['input']!r}"
            raise InputError(f"{where}: {key}: {said}.") from error
    return cls(**found)
