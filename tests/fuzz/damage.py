"""Damage to files: edits of their bytes, and of the values in their JSON."""

import copy
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

KINDS = ("flip a bit", "set a byte", "insert a byte", "delete a span", "repeat a span", "zero a span", "cut the end")
STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 0.5, float("nan"), float("inf"), "", "x", "\ud800", "9" * 5000, [], [None], {}, {"a": 1},
    [[]] * 3,
)  # fmt: skip


class Edit(NamedTuple):
    """One change: what is done, where (a share of the whole), and a number that says more."""

    kind: int
    place: float
    number: int


def random_edits(source: random.Random) -> list[Edit]:
    count = source.choice((1, 1, 2, 4))
    return [Edit(source.randrange(256), source.random(), source.randrange(256)) for _ in range(count)]


def damaged_bytes(content: bytes, edits: Sequence[Edit]) -> bytes:
    data = bytearray(content)
    for kind, place, number in edits:
        at = min(int(place * len(data)), max(0, len(data) - 1))
        span = slice(at, at + 1 + number)
        match KINDS[kind % len(KINDS)] if data else "insert a byte":
            case "flip a bit":
                data[at] ^= 1 << number % 8
            case "set a byte":
                data[at] = number
            case "insert a byte":
                data.insert(at, number)
            case "delete a span":
                del data[span]
            case "repeat a span":
                data[at:at] = data[span]
            case "zero a span":
                data[span] = bytes(len(data[span]))
            case "cut the end":
                del data[at:]
    return bytes(data)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each value in JSON, itself left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, held in inner for place in ((*path, key), *_places(held, (*path, key)))]


def damaged_json(value: dict[str, Any], edits: Sequence[Edit]) -> dict[str, Any]:
    """The object with values replaced by strange ones, left out, or under another name."""
    found = copy.deepcopy(value)
    for kind, place, number in edits:
        places = _places(found)
        if not places:
            break
        *above, key = places[int(place * len(places)) % len(places)]
        holder: Any = found
        for step in above:
            holder = holder[step]
        if kind % 8 == 0:
            del holder[key]
        elif kind % 8 == 1 and isinstance(holder, dict):
            holder[f"{key}_"] = holder.pop(key)
        else:
            holder[key] = copy.deepcopy(STRANGE[number % len(STRANGE)])
    return found
