"""What only some uses need is asked for by the name of its extra, before anything is computed."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

from hyperadapters import InputError
from hyperadapters._utils.extras import _EXTRAS, check_extra


def test_the_extras_are_those_of_the_package():
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for extra, modules in _EXTRAS.items():
        packages = {re.split("[><=]", line)[0] for line in declared["optional-dependencies"][extra]}
        assert packages >= set(modules.values())
        assert not packages & {re.split("[><=]", line)[0] for line in declared["dependencies"]}


def test_what_is_missing_is_named_with_how_to_install_it(monkeypatch):
    check_extra("reports", "figures")
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == "scipy" else object())
    check_extra("reports", "figures", "matplotlib")
    with pytest.raises(InputError, match=r"figures: scipy not installed.*'hyperadapters\[reports\]'"):
        check_extra("reports", "figures")
