"""Methods by name, and Deltas from disk.

Every module of this package that defines `PRESETS` adds its methods; the directory is the index.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperadapters._utils import InputError, neighbours, settings
from hyperadapters.delta import Method
from hyperadapters.methods.peft import PREFIX, Peft

_MODULES = [
    importlib.import_module(f"{__package__}.{found.name}")
    for found in pkgutil.iter_modules([str(Path(__file__).parent)])
    if found.name != "registry"
]

METHODS: dict[str, Method] = {
    name: method for module in _MODULES for name, method in getattr(module, "PRESETS", {}).items()
}
"""Every method by the name that papers and the command line use."""

METHOD_TYPES: dict[str, type[Method]] = {kind.__name__: kind for kind in (Peft, *map(type, METHODS.values()))}


def method_named(name: str, changes: Mapping[str, Any] | None = None) -> Method:
    """A method by name, with some of its fields changed; `peft:lora` is LoRA of the peft library.

    Raises:
        InputError: there is no such method or field; names the nearest.
    """
    if name.startswith(PREFIX):
        return Peft(kind=name.removeprefix(PREFIX)).changed(changes or {})
    if name not in METHODS:
        raise InputError(f"there is no method {name!r}. {neighbours(name, METHODS)}")
    return METHODS[name].changed(changes or {})


def method_from_json(values: Mapping[str, Any]) -> Method:
    """The method that `method.method_to_json` wrote.

    Raises:
        InputError: unknown type, or fields missing, unknown or of a wrong type.
    """
    kind = str(values.get("type"))
    if kind not in METHOD_TYPES:
        raise InputError(f"method type {kind!r} is not known. {neighbours(kind, METHOD_TYPES)}")
    return settings.parse(METHOD_TYPES[kind], {k: v for k, v in values.items() if k != "type"}, "method")
