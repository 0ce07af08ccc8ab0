"""What a client sends, as the rows of an adapter's task."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hyperadapters._utils import InputError, shortened
from hyperadapters.server.requests import Message
from hyperadapters.tasks import TaskFormat


def _row_of(form: TaskFormat, given: str | Mapping[str, Any], *, others: bool = False) -> dict[str, Any]:
    """Return a text, or columns, as a row of a task.

    Args:
        form: of the task.
        given: what the client sent.
        others: whether columns that the task does not have may stand beside its own.

    Raises:
        InputError: it has not the task's columns, or one is of a wrong type.
    """
    _check_characters(given)
    if isinstance(given, str):
        return _row_of_text(form, given)
    missing = [name for name in form.fields if name not in given]
    unknown = [] if others else [name for name in given if name not in form.fields]
    if missing or unknown:
        said = [f"lacks {', '.join(missing)}"] if missing else []
        said += [f"has {', '.join(map(shortened, unknown))}, which the task does not know"] if unknown else []
        raise InputError(f"a row {' and '.join(said)}. Its columns are {', '.join(form.fields)}.")
    return {name: _checked(form, name, given[name]) for name in form.fields}


def _check_characters(given: Any) -> None:
    """Raise InputError if a text has half a character, which JSON can write and no tokenizer reads."""
    try:
        json.dumps(given, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError("a text has a lone surrogate, half of a character: send whole ones.") from error


def _row_of_text(form: TaskFormat, text: str) -> dict[str, Any]:
    if len(form.fields) > 1:
        raise InputError(
            f"the task has {len(form.fields)} columns ({', '.join(form.fields)}): send an object with a text for each, "
            "not one text."
        )
    (field,) = form.fields
    if form.style == "conversation":
        return {field: [{"role": "user", "content": text}]}
    return {field: tuple(text.split()) if form.style == "words" else text}


def _checked(form: TaskFormat, name: str, value: Any) -> Any:
    """Return the value of a column.

    Raises:
        InputError: it is of a wrong type.
    """
    if form.style == "words":
        if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
            raise InputError(f"column {name!r} holds no list of words.")
        return tuple(value)
    if form.style == "conversation":
        return value  # read with its turns
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"column {name!r} holds {type(value).__name__}, not a text.")
    return str(value)


def _row_of_messages(form: TaskFormat, messages: Sequence[Message]) -> dict[str, Any]:
    """Return the messages of a chat as a row of a task.

    An adapter that was not trained on conversations takes a single message of the user.

    Args:
        form: of the task.
        messages: in order.

    Raises:
        InputError: they are none for this task.
    """
    if form.style == "conversation":
        _check_characters([message.text for message in messages])
        return {form.fields[0]: [{"role": message.role, "content": message.text} for message in messages]}
    if len(messages) != 1 or messages[0].role != "user":
        raise InputError(
            "this adapter was not trained on conversations: send one message of the role user, or use /v1/completions."
        )
    return _row_of(form, messages[0].text)
