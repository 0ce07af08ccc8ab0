"""The pages: their examples run, their commands and links exist, and every public name is documented."""

import ast
import functools
import importlib
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import works

import hyperadapters

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*/*.md")])
README = ROOT / "README.md"
ENVIRONMENT = {
    **os.environ,
    "COLUMNS": "300",
    "HF_HUB_OFFLINE": "1",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def blocks(page: Path, kind: str) -> list[str]:
    """The fenced blocks of a page that are marked as this language; those marked `text` or not at all do not run."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def succeeds(command: list[str], folder: Path) -> str:
    """What a command prints; fails with its last lines if it does."""
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return done.stdout


COMMANDS_OF_EXTRAS = {"lm_eval": "lm_eval", "--format onnx": "onnxscript"}
"""The library that a shell example needs, beyond what the package depends on, by a part of the example."""


def skip_without_its_libraries(example: str) -> None:
    """Skip a test of an example that needs a library of an extra that is not installed."""
    imported = re.findall(r"^(?:from|import) (\w+)", example, re.MULTILINE)
    wanted = {*imported, *(library for part, library in COMMANDS_OF_EXTRAS.items() if part in example)}
    missing = sorted(name for name in wanted if importlib.util.find_spec(name) is None)
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed (hyperadapters[bridges])")


def python_of(page: Path) -> str:
    """All Python examples of a page; skips the test where a library is missing."""
    code = "\n\n".join(blocks(page, "python"))
    skip_without_its_libraries(code)
    return code


BRIDGES = [page for page in PAGES if page.parent.name == "bridges" and blocks(page, "python")]
OF_BRIDGES = [
    pytest.param(page, marks=pytest.mark.slow if page.stem == "export" else ())  # tests/serving/test_exporting.py
    for page in BRIDGES
]
WITH_PYTHON = [
    pytest.param(page, marks=() if page == README else pytest.mark.slow)
    for page in PAGES
    if blocks(page, "python") and page.stem != "add-a-method" and page not in BRIDGES
]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=named)
def test_the_python_examples_of_a_page_run(page, tmp_path):
    succeeds([sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", python_of(page)], tmp_path)


@pytest.mark.parametrize("page", OF_BRIDGES, ids=named)
def test_the_python_examples_of_a_bridge_run(page, tmp_path, monkeypatch):
    code = python_of(page)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=DeprecationWarning, module="__main__")
        exec(compile(code, named(page), "exec"), {"__name__": "__main__"})


def test_the_first_example_trains_saves_and_loads_in_ten_lines():
    first = blocks(README, "python")[0]
    lines = [line for line in first.splitlines() if line.strip()]
    assert len(lines) <= 10
    assert all(f"{call}(" in first for call in ("ha.fit", "delta.save", "ha.load"))


SHELL = [(page, number) for page in PAGES for number in range(len(blocks(page, "sh")))]


def ids_of(value: object) -> object:
    return named(value) if isinstance(value, Path) else value


@pytest.mark.slow
@pytest.mark.parametrize(("page", "number"), SHELL, ids=ids_of)
def test_the_shell_examples_of_a_page_run(page, number, tmp_path):
    for folder in ("experiments", "results"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    skip_without_its_libraries(blocks(page, "sh")[number])
    succeeds(["bash", "-euo", "pipefail", "-c", blocks(page, "sh")[number]], tmp_path)


@pytest.mark.parametrize("number", range(len(blocks(README, "sh"))))
def test_the_commands_of_the_readme_run(number, tmp_path, monkeypatch):
    """In this process, where nothing is imported again; what is no command of the package runs in a shell."""
    monkeypatch.chdir(tmp_path)
    for line in blocks(README, "sh")[number].splitlines():
        name, *words = shlex.split(line)
        works(*words) if name == "hyperadapters" else succeeds(["bash", "-euo", "pipefail", "-c", line], tmp_path)


def test_the_installed_command_shows_its_help():
    assert "train" in succeeds(["hyperadapters", "--help"], ROOT)


@functools.cache
def options_of(command: str) -> set[str]:
    """The options that `--help` shows for a command."""
    return set(re.findall(r"(?<![\w-])-{1,2}[a-z][\w-]*", works(command, "--help").stdout))


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every `hyperadapters` line on a page, in blocks of any kind and in the text."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for kind in ("", "sh") for block in blocks(page, kind) for line in block.splitlines()]
    continued = "\n".join(lines).replace("\\\n", " ")
    inline = re.findall(r"`(hyperadapters [^`]+)`", text)
    for line in (*continued.splitlines(), *(" ".join(found.split()) for found in inline)):
        words = line.partition(" #")[0].split()
        start = next((i for i, word in enumerate(words) if word == "hyperadapters"), None)
        if start is not None and len(words) > start + 1:
            yield words[start + 1 :]


def test_the_commands_on_the_pages_have_options_that_exist(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    found = [(named(page), words) for page in PAGES for words in commands(page)]
    assert len(found) > 40
    unknown = [
        f"{page}: {command} {word}"
        for page, (command, *words) in found
        if re.fullmatch("[a-z]+", command)
        for word in words
        if re.fullmatch(r"-{1,2}[a-z][\w-]*", word) and word not in options_of(command)
    ]
    assert not unknown


def test_the_files_that_the_pages_name_are_there():
    pattern = r"(?<![\w/.])((?:src|tests|experiments|benchmarks|docs)/[\w./-]*\w)"
    missing = {
        f"{named(page)}: {path}"
        for page in PAGES
        for path in re.findall(pattern, page.read_text(encoding="utf-8"))
        if path != "docs/reference" and not (ROOT / path).exists()
    }
    assert not missing


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and the site give the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_test_that_holds_a_guarantee_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "guarantees.md").read_text())
    assert named
    assert [name for path, name in named if f"def {name}(" not in (ROOT / path).read_text()] == []


def test_every_link_leads_to_a_file_and_a_heading_that_exist():
    dead = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)]+)\)", prose(page)):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
                dead.append(f"{named(page)}: {link}")
    assert not dead


def test_the_table_of_methods_is_what_the_package_counts():
    spec = importlib.util.spec_from_file_location("make_methods", ROOT / "docs" / "make_methods.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run: python docs/make_methods.py"


def test_the_guide_to_a_new_method_gives_one_that_works(tiny, batch):
    (code,) = blocks(ROOT / "docs" / "add-a-method.md", "python")
    names: dict = {"__name__": "guide"}
    exec(code, names)
    delta = hyperadapters.attach(tiny, names["PRESETS"]["tied"])
    tiny(**batch).loss.backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in delta.trained().values())
    count = hyperadapters.count_parameters(delta)
    assert count.by_kind == {"adapter": 8 * (48 * 24 + 48 + 24), "norm": 12 * 48}


def docstring(name: str) -> str:
    """The docstring of a public name; of a value, such as `METHODS`, the string below its assignment."""
    value = getattr(hyperadapters, name)
    if callable(value):
        return inspect.cleandoc(value.__doc__ or "")
    stub = (ROOT / "src" / "hyperadapters" / "__init__.pyi").read_text(encoding="utf-8")
    (module,) = re.findall(rf"^from \.([\w.]+) import {name} as {name}$", stub, re.MULTILINE)
    tree = ast.parse(inspect.getsource(importlib.import_module(f"hyperadapters.{module}")))
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        target = getattr(statement, "target", None) or (getattr(statement, "targets", None) or [None])[0]
        if isinstance(target, ast.Name) and target.id == name and isinstance(following, ast.Expr):
            return inspect.cleandoc(following.value.value)
    return ""


@pytest.mark.parametrize("name", hyperadapters.__all__)
def test_every_public_name_has_a_docstring_with_a_first_sentence(name):
    first = docstring(name).split("\n\n")[0]
    assert first[:1].isupper()
    assert first.endswith((".", ":"))


FUNCTIONS = [name for name in hyperadapters.__all__ if inspect.isfunction(getattr(hyperadapters, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_describes_its_arguments(name):
    _, _, section = docstring(name).partition("Args:\n")
    described = set(re.findall(r"^    \*{0,2}(\w+)(?: \([^)]*\))?:", section.split("\n\n")[0], re.MULTILINE))
    assert set(inspect.signature(getattr(hyperadapters, name)).parameters) <= described


CLASSES = [name for name in hyperadapters.__all__ if inspect.isclass(getattr(hyperadapters, name))]


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_method_of_a_public_class_has_a_docstring(name):
    members = {
        key: getattr(value, "__func__", getattr(value, "fget", value))
        for key, value in vars(getattr(hyperadapters, name)).items()
        if not key.startswith("_") and (inspect.isroutine(value) or isinstance(value, property | classmethod))
    }
    assert not [key for key, value in members.items() if not inspect.getdoc(value)]
