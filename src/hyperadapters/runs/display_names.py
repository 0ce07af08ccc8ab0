"""Names of methods in tables: the nearest preset's, and what differs from it."""

from collections.abc import Sequence
from dataclasses import fields

from hyperadapters.delta import Method
from hyperadapters.methods import METHODS, Peft

SIZES = ("bottleneck", "n", "rank", "prompt_length", "intrinsic_dim")
"""The fields of methods that decide the size of an adapter."""


def _differing(method: Method, preset: Method) -> list[str]:
    """Return the names of the fields in which two methods of one type differ."""
    names = [field.name for field in fields(method)]  # type: ignore[arg-type]
    return [name for name in names if getattr(method, name) != getattr(preset, name)]


def nearest(method: Method) -> str:
    """Return the name of the preset that differs from a method in the fewest fields; without a preset, its label."""
    same = [name for name, preset in METHODS.items() if type(preset) is type(method)]
    return min(same, key=lambda name: len(_differing(method, METHODS[name])), default=method.label)


def named(method: Method) -> tuple[str, list[str]]:
    """Return the nearest preset's name with the differences but those of size, and the differences of size."""
    name = nearest(method)
    if isinstance(method, Peft):
        return add_to_label(name, [f"{field} = {value}" for field, value in method.config.items()]), []
    if name not in METHODS:
        return name, []
    said = {field: f"{field} = {getattr(method, field)}" for field in _differing(method, METHODS[name])}
    return (
        add_to_label(name, [text for field, text in said.items() if field not in SIZES]),
        [text for field, text in said.items() if field in SIZES],
    )


def label_of(method: Method) -> str:
    """Return the nearest preset's name with what differs from it in brackets."""
    return add_to_label(*named(method))


def add_to_label(label: str, changes: Sequence[str]) -> str:
    """Return a label with changes in brackets, after those that it has already."""
    if not changes:
        return label
    text = ", ".join(changes)
    return f"{label[:-1]}, {text})" if label.endswith(")") else f"{label} ({text})"
