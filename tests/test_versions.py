"""The declared ranges: complete, and met by the environment and by constraints.txt (`make versions` runs both ends)."""

import ast
import re
import sys
from importlib.metadata import packages_distributions, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from versions import PROJECT, ROOT, declared, oldest

EXTRAS = [
    Requirement(line)
    for extra in ("quantized", "ray", "serve", "onnx", "bridges")
    for line in PROJECT["optional-dependencies"][extra]
]
NEEDS = pytest.mark.parametrize("need", declared(), ids=lambda need: need.name)


@NEEDS
def test_the_environment_lies_within_the_declared_range(need):
    assert need.specifier.contains(version(need.name).partition("+")[0], prereleases=True)


@NEEDS
def test_the_declared_range_has_a_lower_end_that_make_versions_installs(need):
    assert need.specifier.contains(oldest()[need.name])


def test_the_constraints_lie_within_the_declared_ranges():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pins = {canonicalize_name(name): release for name, release in pins.items()}
    for need in declared():
        assert need.specifier.contains(pins[canonicalize_name(need.name)]), need


def imported() -> set[str]:
    """The top modules that the package imports, anywhere in a file."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            found |= {name.partition(".")[0] for name in names}
    return found - {*sys.stdlib_module_names, "hyperadapters"}


def test_every_library_that_the_package_imports_is_declared():
    distributions = packages_distributions()
    known = {canonicalize_name(need.name) for need in (*declared(), *EXTRAS)}
    undeclared = {
        module
        for module in imported()
        if not known & {canonicalize_name(name) for name in distributions.get(module, [module])}
    }
    assert not undeclared


def test_the_declared_pythons_begin_with_the_oldest_required():
    oldest_required = re.fullmatch(r">=(3\.\d+)", PROJECT["requires-python"])[1]
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert pythons[0] == oldest_required
