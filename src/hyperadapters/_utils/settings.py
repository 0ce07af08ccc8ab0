"""Frozen dataclasses from and to JSON and the command line: pydantic checks them, all problems are in one error.

A field that may hold one of several dataclasses, or a tuple of them, names them in its metadata,
`field(metadata=settings.one_of({...}))`. The JSON of each says which by the key `type`.
"""

import dataclasses
import functools
import json
import operator
import os
import reprlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from hyperadapters._utils.errors import InputError, listed
from hyperadapters._utils.names import neighbours

_T = TypeVar("_T")

_TYPE = "type"
"""The key that says in JSON which of several dataclasses a field holds."""


def one_of(types: Mapping[str, type]) -> dict[str, Mapping[str, type]]:
    """Return the metadata of a field that holds one of these dataclasses, or a tuple of them.

    Args:
        types: by the name that JSON gives them under `type`.
    """
    return {"types": types}


def dump(settings: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as plain JSON values, what `parse` reads again."""
    values: dict[str, Any] = json.loads(json.dumps(_fields_as_dict(settings)))
    return values


def _fields_as_dict(settings: Any) -> dict[str, Any]:
    values = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        types = {cls: name for name, cls in _types_of(field).items()}
        several = types and isinstance(value, tuple)
        values[field.name] = [_tagged(item, types) for item in value] if several else _tagged(value, types)
    return values


def _tagged(value: Any, types: Mapping[type, str]) -> Any:
    """Return the fields of a dataclass with the name of its type, where types have names; other values as they are."""
    if not dataclasses.is_dataclass(value):
        return value
    tag = {_TYPE: types.get(type(value), type(value).__name__)} if types else {}
    return {**tag, **_fields_as_dict(value)}


def parse(cls: type[_T], values: Any, where: str) -> _T:
    """Return the dataclass that `dump` wrote: every field must be there and of its type, and there are no others.

    Args:
        cls: a dataclass, whose fields may be dataclasses too.
        values: its JSON.
        where: what errors call it, such as "training"; each problem's path begins with it. May be empty.

    Raises:
        InputError: fields are missing, unknown or of a wrong type, or do not go together; all of them in one error.
    """
    return cast(_T, _validated(_adapter(cast(Any, cls)), cls, values, where))


def updated(settings: _T, changes: Mapping[str, Any], where: str) -> _T:
    """Return a copy with some fields changed; values may be text, as the command line gives them.

    Args:
        settings: a frozen dataclass.
        changes: field name -> new value.
        where: what errors call it, such as "method".

    Raises:
        InputError: unknown fields or values of a wrong type, all of them in one error.
    """
    return dataclasses.replace(settings, **typed(type(settings), changes, where))  # type: ignore[type-var]


def typed(cls: type, changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return values for some fields of a dataclass, of their types; arguments and errors are those of `updated`."""
    hints = _hints(cls)
    known = tuple(field.name for field in dataclasses.fields(cls) if field.name in changes)
    adapter = _partial_adapter(cls, known)
    plain = {name: _from_text(hints[name], value) if name in known else value for name, value in changes.items()}
    return dict(vars(_validated(adapter, cls, plain, where, given=changes)))


def check(settings: Any, where: str) -> None:
    """Check the fields of a new dataclass, for its `__post_init__`: what stands for their type is made it, as 1 is 1.0.

    Args:
        settings: a dataclass, which may be frozen.
        where: what errors call it, such as "training".

    Raises:
        InputError: values of a wrong type, all of them in one error.
    """
    cls: Any = type(settings)
    bad = []
    for each in dataclasses.fields(settings):
        known, hint = _types_of(each), _hints(cls)[each.name]
        types: list[Any] = [*known.values()] or [
            one for one in (hint, *get_args(hint)) if dataclasses.is_dataclass(one)
        ]
        held = [one for one in _items(getattr(settings, each.name)) if one is not None] if types else []
        wrong = [one for one in held if not dataclasses.is_dataclass(one) or isinstance(one, type)]
        words = ", ".join(f"{one.__name__}(...)" for one in types)
        bad += [f"{where}.{each.name}={reprlib.repr(one)}: give {'one of ' if known else ''}{words}." for one in wrong]
    if bad:
        raise InputError(listed(bad))
    names = _plain_fields(cls)
    given = {name: _plain(getattr(settings, name)) for name in names}
    found = _validated(_partial_adapter(cls, names), cls, given, where)
    for name in names:
        object.__setattr__(settings, name, getattr(found, name))


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple | list) else [value]


@functools.cache
def _plain_fields(cls: Any) -> tuple[str, ...]:
    """Return the fields of a dataclass that hold no other dataclasses."""
    hints = _hints(cls)
    nested = [name for name, hint in hints.items() if any(map(dataclasses.is_dataclass, (hint, *get_args(hint))))]
    return tuple(each.name for each in dataclasses.fields(cls) if not _types_of(each) and each.name not in nested)


def _plain(value: Any) -> Any:
    """Return a path as its text, and a number of NumPy or torch as Python's; other values as they are."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields."""
    return get_type_hints(cls)


def _from_text(hint: Any, value: Any) -> Any:
    """Return the value that a text from the command line means: JSON where it reads as such, commas for a list."""
    if not isinstance(value, str) or hint is str:
        return value
    if "tuple" in str(hint) and not value.startswith("["):
        return [part for part in value.split(",") if part]
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _types_of(field: "dataclasses.Field[Any]") -> Mapping[str, type]:
    types: Mapping[str, type] = field.metadata.get("types", {})
    return types


@functools.lru_cache(1024)
def _partial_adapter(cls: Any, names: tuple[str, ...]) -> TypeAdapter[Any]:
    """Return what pydantic checks values of some fields of a dataclass against."""
    hints = _hints(cls)
    return TypeAdapter(_without_others(cls.__name__, {name: hints[name] for name in names}))


@functools.cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_form(cls))


@functools.cache
def _form(cls: Any, tag: str = "") -> Any:
    """Return what pydantic checks the JSON of a dataclass against: all its fields are required, others forbidden."""
    hints = _hints(cls)
    fields = {
        field.name: _choice(field, hints[field.name]) or _nested(hints[field.name]) for field in dataclasses.fields(cls)
    }
    form = _without_others(cls.__name__, {**({_TYPE: Literal[tag]} if tag else {}), **fields})
    return Annotated[form, AfterValidator(lambda found: cls(**{name: getattr(found, name) for name in fields}))]


def _without_others(name: str, fields: Mapping[str, Any]) -> type:
    config = {"__pydantic_config__": ConfigDict(extra="forbid")}
    return dataclasses.make_dataclass(name, fields.items(), namespace=config)


def _choice(field: "dataclasses.Field[Any]", hint: Any) -> Any:
    """Return what the JSON of a field is checked against that holds one of several dataclasses, or a tuple of them."""
    forms = [_form(cls, name) for name, cls in _types_of(field).items()]
    if not forms:
        return None
    choice: Any = Annotated[functools.reduce(operator.or_, forms), Field(discriminator=_TYPE)]
    several: Any = tuple
    return several[choice, ...] if get_origin(hint) is tuple else choice


def _nested(hint: Any) -> Any:
    """Return a field's type with the forms of dataclasses in place of them."""
    if dataclasses.is_dataclass(hint):
        return _form(cast(Any, hint))
    members = get_args(hint)
    return (
        functools.reduce(operator.or_, map(_nested, members)) if any(map(dataclasses.is_dataclass, members)) else hint
    )


def _validated(adapter: TypeAdapter[Any], cls: type, values: Any, where: str, given: Any = None) -> Any:
    """Return what pydantic makes of values; `given` is what errors show in their place.

    Raises:
        InputError: all problems, one a line, each with its path.
    """
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        reasons: dict[str, list[str]] = {}
        for detail in error.errors():
            subject, reason = _problem(cls, values if given is None else given, where, detail)
            reasons.setdefault(subject, []).append(reason)
        lines = [subject + " or ".join(dict.fromkeys(found)) for subject, found in reasons.items()]
        raise InputError(listed(lines, most=30)) from error


def _problem(cls: type, values: Any, where: str, detail: Any) -> tuple[str, str]:
    """Return what one of pydantic's errors is about, with its path, and what is wrong there."""
    path, holder, value = _located(cls, values, detail["loc"])
    name = ".".join([where, *path] if where else path) or cls.__name__
    cause = detail.get("ctx", {}).get("error")
    match detail["type"]:
        case "missing":
            return f"{name}: ", f"missing; {holder.__name__} needs it."
        case "unexpected_keyword_argument":
            known = [field.name for field in dataclasses.fields(holder)]
            return f"{name}: ", f"{holder.__name__} has no such field. {neighbours(path[-1], known)}"
        case "union_tag_invalid" | "union_tag_not_found":
            types = next(_types_of(field) for field in dataclasses.fields(holder) if field.name in path[-2:])
            tag = str(value.get(_TYPE, ""))
            return f"{name}.{_TYPE}={tag!r}: ", f"there is no such type. {neighbours(tag, types)}"
        case "dataclass_type" | "model_attributes_type":
            return f"{name}={reprlib.repr(value)}: ", "it should be a JSON object"
        case _ if isinstance(cause, InputError):  # of the dataclass itself, which says where
            return str(cause), ""
        case _:
            return f"{name}={reprlib.repr(value)}: ", detail["msg"][0].lower() + detail["msg"][1:]


def _located(cls: Any, values: Any, loc: Sequence[int | str]) -> tuple[list[str], Any, Any]:
    """Return the path of a problem, without what pydantic adds to it (tags, members of unions), and what is there.

    Returns:
        The path, the dataclass that its last part is a field of, and the value.
    """
    path, holder, several = list[str](), cls, cast(Mapping[str, type], {})
    for part in loc:
        names = [field.name for field in dataclasses.fields(cls)] if cls else []
        if isinstance(values, Mapping) and (part in values or part in names):
            holder, values = cls, values.get(part)
            several = _types_of_name(cls, part) if part in names and isinstance(values, list | tuple) else {}
            cls = _held(cls, part, values) if part in names else None
        elif isinstance(values, list | tuple) and isinstance(part, int):
            values = values[part]
            cls = several.get(str(values.get(_TYPE))) if isinstance(values, Mapping) else None
        else:
            continue
        path.append(str(part))
    return path, holder, values


def _types_of_name(cls: Any, name: int | str) -> Mapping[str, type]:
    return next(_types_of(field) for field in dataclasses.fields(cls) if field.name == name)


def _held(cls: Any, name: int | str, value: Any) -> Any:
    """Return the dataclass that a field of another holds, by its JSON; None where it holds none."""
    field = next(field for field in dataclasses.fields(cls) if field.name == name)
    if types := _types_of(field):
        return types.get(str(value.get(_TYPE))) if isinstance(value, Mapping) else None
    hint = get_type_hints(cls)[field.name]
    return next(filter(dataclasses.is_dataclass, (hint, *get_args(hint))), None)
