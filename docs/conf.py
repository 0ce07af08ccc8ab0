"""The site: every page of the repository, and a reference of the public names made from their docstrings.

`make docs` builds it and fails at a link that leads nowhere, a public name without a docstring, or a docstring that
cannot be read (docs/decisions.md says why Sphinx).
"""

import ast
import importlib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

import hyperadapters

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
START = "README"
GUIDES = (
    "training tasks backbones multi-task descriptions serving http-server below-the-floor sharing converting sweeps "
    "reports costs performance coming-from-peft works-with guarantees parity add-a-method".split()
)
RESULTS = "methods reproducing-table-1 embedded results/README".split()
RESULTS += sorted(f"results/{path.stem}" for path in ROOT.glob("docs/results/*.md") if path.stem != "README")
BRIDGES = sorted(path.stem for path in ROOT.glob("docs/bridges/*.md"))
PROJECT = "docs/decisions docs/log CONTRIBUTING SECURITY CHANGELOG".split()

project = "hyperadapters"
author = copyright = "The hyperadapters authors"
version = release = hyperadapters.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = START
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = [".venv", "build", "out", "results", "tests"]
html_theme = "furo"
html_title = "hyperadapters"
html_copy_source = False
myst_heading_anchors = 3
default_role = "code"  # docstrings mark code as Markdown does, by single backticks
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True}
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
suppress_warnings = ["misc.highlighting_failure"]


def public_names() -> dict[str, list[tuple[str, str]]]:
    """Return the public names by package: pairs of the defining module and the name, in the order of `__init__.pyi`."""
    stub = ast.parse((ROOT / "src" / "hyperadapters" / "__init__.pyi").read_text(encoding="utf-8"))
    names: dict[str, list[tuple[str, str]]] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            module = str(node.module)
            package, _, _ = module.partition(".")
            names.setdefault(package, []).extend((module, alias.name) for alias in node.names)
    return names


def directive(module: str, name: str) -> str:
    """Return what autodoc is asked for a public name: a class, a function or a value, such as `METHODS`."""
    value = getattr(hyperadapters, name)
    if isinstance(value, type):
        return f".. autoclass:: hyperadapters.{name}"
    if callable(value):
        return f".. autofunction:: hyperadapters.{name}"
    return f".. autodata:: hyperadapters.{module}.{name}\n   :no-value:"


def write_reference(app: Sphinx) -> None:
    """Write a page for each package that defines public names, and one that lists them all."""
    REFERENCE.mkdir(exist_ok=True)
    for old in REFERENCE.glob("*.md"):
        old.unlink()
    index = "# Reference\n\nEvery public name (`import hyperadapters as ha`), by the package that defines it.\n"
    for package, names in public_names().items():
        title = package.strip("_")
        about = importlib.import_module(f"hyperadapters.{package}").__doc__ or ""
        directives = "\n\n".join(directive(module, name) for module, name in names)
        page = f"# {title}\n\n{about}\n```{{eval-rst}}\n{directives}\n```\n"
        (REFERENCE / f"{title}.md").write_text(page, encoding="utf-8")
        index += f"\n- [{title}]({title}.md): {', '.join(f'`{name}`' for _, name in names)}"
    (REFERENCE / "index.md").write_text(index + "\n", encoding="utf-8")


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Add the table of contents to the first page, which on its own is a plain README."""
    packages = [f"docs/reference/{name.strip('_')}" for name in public_names()]
    parts = {
        "Guides": [f"docs/{name}" for name in GUIDES],
        "Bridges": [f"docs/bridges/{name}" for name in BRIDGES],
        "Results": [f"docs/{name}" for name in RESULTS],
        "Reference": ["docs/reference/index", *packages],
        "Project": PROJECT,
    }
    if page == START:
        for title, pages in parts.items():
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n"


WRITTEN: dict[str, list[str]] = {}
"""Docstrings of values as they were written, by the value's name."""


def keep_docstring(app: Sphinx, what: str, name: str, value: object, options: Any, lines: list[str]) -> None:
    """Keep the docstring of a value before napoleon reads what stands before its first colon as a type."""
    if what in ("attribute", "data", "property"):
        WRITTEN[name] = list(lines)


def restore_docstring(app: Sphinx, what: str, name: str, value: object, options: Any, lines: list[str]) -> None:
    """Put the docstring of a value back, after napoleon."""
    lines[:] = WRITTEN.pop(name, lines)


def refuse_undocumented(app: Sphinx, what: str, name: str, value: object, options: Any, lines: list[str]) -> None:
    """Warn, which ends the build, where a public class, function, method, property or value has no docstring."""
    if what != "attribute" and not any(map(str.strip, lines)):
        logging.getLogger(__name__).warning("%s has no docstring", name)


def lead_to_start(app: Sphinx, exception: Exception | None) -> None:
    """Write an `index.html` that opens the first page."""
    text = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={START}.html">'
    (Path(app.outdir) / "index.html").write_text(text + f'<a href="{START}.html">hyperadapters</a>\n', encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Connect the steps above to the build."""
    app.connect("builder-inited", write_reference)
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", refuse_undocumented)
    app.connect("autodoc-process-docstring", keep_docstring, priority=400)  # napoleon's is 500
    app.connect("autodoc-process-docstring", restore_docstring, priority=600)
    app.connect("build-finished", lead_to_start)
