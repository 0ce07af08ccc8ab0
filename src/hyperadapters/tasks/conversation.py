"""Conversations: lists of turns, as instruction data and chat templates have them."""

from collections.abc import Mapping
from typing import Any

from hyperadapters._utils import InputError

_Turn = dict[str, str]
"""`role` and `content`."""

_ROLES = ("system", "user", "assistant")


def _read_conversation(turns: Any) -> tuple[_Turn, ...]:
    """Return the checked turns of a conversation, each with its role and its text.

    Raises:
        InputError: it is no list of turns or an empty one, a role is unknown, or a turn has no text.
    """
    if not isinstance(turns, (list, tuple)) or not turns:
        what = "empty" if isinstance(turns, (list, tuple)) else f"of type {type(turns).__name__}"
        raise InputError(f"messages is {what}; it is a list of turns such as {{'role': 'user', 'content': 'Hello'}}")
    return tuple(_check_turn(number, turn) for number, turn in enumerate(turns, 1))


def _check_turn(number: int, turn: Any) -> _Turn:
    """Return one turn with its role and its text.

    Raises:
        InputError: its role is unknown, or it has no text.
    """
    if not isinstance(turn, Mapping) or turn.get("role") not in _ROLES:
        role = turn.get("role") if isinstance(turn, Mapping) else turn
        raise InputError(f"turn {number} has the role {role!r}; roles are {', '.join(_ROLES)}")
    text = turn.get("content")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"turn {number} ({turn['role']}) has no text as its content")
    return {"role": str(turn["role"]), "content": text.strip()}


def _rows_to_learn(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for every assistant turn of a conversation: what stands before it, and its text as the label.

    Raises:
        InputError: it is no conversation, does not end with the assistant, or begins with it.
    """
    turns = _read_conversation(record.get("messages"))
    places = [i for i, turn in enumerate(turns) if turn["role"] == "assistant"]
    if turns[-1]["role"] != "assistant":
        raise InputError(f"the last turn is the {turns[-1]['role']}'s; it must be the assistant's, which is learned")
    if places[0] == 0:
        raise InputError("the first turn is the assistant's: there is nothing that it answers")
    return [{"messages": turns[:i], "label": turns[i]["content"]} for i in places]


def row_to_answer(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a conversation to answer, as one row; an assistant's turn at its end is left out, to be answered again.

    Raises:
        InputError: it is no conversation, or holds no turn to answer.
    """
    turns = _read_conversation(record.get("messages"))
    turns = turns[:-1] if turns[-1]["role"] == "assistant" else turns
    if not turns:
        raise InputError("the only turn is the assistant's: there is nothing to answer")
    return [{"messages": list(turns)}]
