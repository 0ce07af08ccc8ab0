"""Telling PEFT of our methods once both packages are imported, in either order, without importing PEFT ourselves."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from hyperadapters._utils import InputError

_OLDEST_PEFT = (0, 21)
"""The first release whose tuners say themselves what is saved."""

_DOOR = "hyperadapters.bridges.peft_tuner"
"""The module that registers our methods when it is imported; where it is what imports PEFT, it does so at its end."""


def _register_with_peft() -> None:
    """Register our methods with PEFT: now if it is imported, else right after it is; never if it is too old."""
    if "peft" not in sys.modules:
        sys.meta_path.insert(0, _AfterPeft())
    elif _installed_peft() >= _OLDEST_PEFT:
        importlib.import_module(_DOOR)


def _check_peft() -> None:
    """Raise InputError unless PEFT is installed, and new enough."""
    if _installed_peft() < _OLDEST_PEFT:
        raise InputError(
            f"ha.PeftConfig needs PEFT {'.'.join(map(str, _OLDEST_PEFT))} or newer: pip install 'hyperadapters[peft]'."
        )


def _installed_peft() -> tuple[int, ...]:
    """Return the version of PEFT that is installed, as numbers; empty if it is not."""
    try:
        return tuple(int(number) for number in re.findall(r"\d+", version("peft"))[:2])
    except PackageNotFoundError:
        return ()


class _AfterPeft(MetaPathFinder):
    """Waits for the import of PEFT; the finders behind it find the package."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "peft":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)  # whoever asks may only want to know whether there is such a package
        if spec is not None and spec.loader is not None and _installed_peft() >= _OLDEST_PEFT:
            spec.loader = _ThenRegister(spec.loader, self)
        return spec


class _ThenRegister(Loader):
    """Loads PEFT as its own loader does, and registers our methods afterwards."""

    def __init__(self, loader: Loader, finder: _AfterPeft) -> None:
        self.loader, self.finder = loader, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
        importlib.import_module(_DOOR)
