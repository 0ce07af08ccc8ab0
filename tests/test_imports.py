"""Each package imports only packages above it, and by the names that stand in their `__init__` (docs/decisions.md)."""

import ast
import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import hyperadapters

PACKAGE = Path(hyperadapters.__file__).parent
ROOT = PACKAGE.parents[1]
ORDER = [
    "_utils",
    "layers",
    "backbones",
    "delta",
    "methods",
    "storage",
    "bridges",
    "tasks",
    "training",
    "runs",
    "serving",
    "server",
    "papers",
    "sweeps",
    "reports",
    "cli",
]
MODULES = {path.stem for path in PACKAGE.rglob("*.py") if path.stem not in ("__init__", "__main__")} | set(ORDER)


@functools.cache
def imports(path: Path) -> list[ast.ImportFrom]:
    """Every import from this package in a file, those inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not [name for name in node.names if name.name.startswith("hyperadapters.")], path
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "hyperadapters":
            found.append(node)
    return found


def in_packages() -> Iterator[tuple[str, Path, ast.ImportFrom]]:
    for path in PACKAGE.rglob("*.py"):
        if path.parent != PACKAGE:
            yield from ((path.relative_to(PACKAGE).parts[0], path, node) for node in imports(path))


def test_the_folders_are_the_packages():
    assert sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()) == sorted(ORDER)
    assert sorted(path.name for path in PACKAGE.glob("*.py*")) == ["__init__.py", "__init__.pyi", "__main__.py"]


def test_no_package_imports_one_below_it():
    back = {
        f"{path.relative_to(PACKAGE)} imports {node.module}"
        for package, path, node in in_packages()
        if node.module == "hyperadapters" or ORDER.index(node.module.split(".")[1]) > ORDER.index(package)
    }
    assert not back


def test_packages_know_each_other_by_what_they_export():
    inside = {
        f"{path.relative_to(PACKAGE)} imports from {node.module}"
        for package, path, node in in_packages()
        if node.module.split(".")[1] != package and node.module.count(".") > 1
    }
    assert not inside


@pytest.mark.parametrize("package", [name for name in ORDER if name != "cli"])
def test_what_a_package_exports_is_there_and_used_elsewhere(package):
    exported = set(importlib.import_module(f"hyperadapters.{package}").__all__)
    outside = {
        name.name
        for folder in (PACKAGE, ROOT / "experiments", ROOT / "benchmarks", ROOT / "tests")
        for path in folder.rglob("*.py")
        if folder != PACKAGE or path.relative_to(PACKAGE).parts[0] != package
        for node in imports(path)
        if node.module.split(".")[1:2] == [package]
        for name in node.names
    }
    assert exported == {name for name in exported if hasattr(importlib.import_module(f"hyperadapters.{package}"), name)}
    public = {name for name in hyperadapters.__all__ if name in exported}
    assert sorted(exported - outside - public) == []


def test_no_public_function_shares_its_name_with_a_module():
    packages = [importlib.import_module(f"hyperadapters.{name}") for name in ORDER if name != "cli"]
    exported = [(name, getattr(package, name)) for package in (*packages, hyperadapters) for name in package.__all__]
    assert not {name for name, value in exported if name in MODULES and not isinstance(value, ModuleType)}


def test_what_no_other_package_uses_has_an_underscore():
    public = []
    for path in PACKAGE.rglob("*.py"):
        package = path.relative_to(PACKAGE).parts[0]
        if package in (
            "cli",
            "_utils",
            "__init__.py",
            "__main__.py",
        ):  # commands are used by a shell, `files` as a module
            continue
        exported = set(importlib.import_module(f"hyperadapters.{package}").__all__) | set(hyperadapters.__all__)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            # results call scores by these names, and the page of the server's API the bodies of requests
            is_shown = path.name.endswith("metrics.py") or path.name == "requests.py"
            if named and node.name not in exported and not is_shown:
                public.append(f"{path.relative_to(PACKAGE)}: {node.name}")
    assert not public


@pytest.mark.skipif(not (ROOT / "experiments").is_dir(), reason="the package is installed without the repository")
def test_experiments_and_benchmarks_find_what_they_take_from_the_package():
    missing = []
    for path in (*ROOT.glob("experiments/**/*.py"), *ROOT.glob("benchmarks/*.py")):
        for node in imports(path):
            there = dir(importlib.import_module(node.module))
            missing += [f"{path.name}: {node.module}.{name.name}" for name in node.names if name.name not in there]
    assert not missing


def test_the_tensor_code_knows_no_transformer():
    for path in (PACKAGE / "layers").glob("*.py"):
        assert "import transformers" not in path.read_text(encoding="utf-8")
        assert "from transformers" not in path.read_text(encoding="utf-8")


def test_no_file_but_the_table_names_a_layer_of_any_family():
    names = ("SelfAttention", "DenseReluDense", "layer_norm", "o_proj", "down_proj", "self_attn", "c_proj", "fc2")
    for path in {*PACKAGE.rglob("*.py")} - {PACKAGE / "backbones" / "dropouts.py"}:
        text = path.read_text(encoding="utf-8").replace("F.layer_norm", "")  # PyTorch's function
        assert not any(word in text for word in names), path


def test_the_public_names_are_these():
    assert sorted(hyperadapters.__all__) == [
        "Adapter",
        "AdapterMatrices",
        "AdaptersMultiTask",
        "BitFit",
        "Choice",
        "Compacter",
        "CompacterProjections",
        "Cost",
        "Data",
        "Delta",
        "DenseProjections",
        "Evaluation",
        "Experiment",
        "Exported",
        "Fan",
        "FilesTask",
        "FitResult",
        "FullFineTuning",
        "FullMultiTask",
        "HyperCompacter",
        "HyperFormer",
        "HyperFormerPlusPlus",
        "HyperPHM",
        "HyperSideAdapter",
        "InputError",
        "InstructionsTask",
        "Interrupted",
        "IntrinsicSAID",
        "Layout",
        "LowRankAdapter",
        "LowRankProjections",
        "METHODS",
        "Method",
        "Mixture",
        "MixtureTask",
        "NamedTask",
        "NonFiniteLossError",
        "PHMAdapter",
        "PHMProjections",
        "ParameterCount",
        "Part",
        "Peft",
        "PeftConfig",
        "Pool",
        "Predictor",
        "PromptTuning",
        "Race",
        "RaceResult",
        "Reading",
        "Result",
        "Scores",
        "SideAdapter",
        "SiteMethod",
        "Stop",
        "SweepResult",
        "TASKS",
        "Text",
        "Training",
        "WarmStart",
        "WithoutAdapters",
        "attach",
        "attached",
        "count_parameters",
        "evaluate",
        "export",
        "fetch_adapters",
        "fit",
        "harness_model",
        "instruction_task",
        "load",
        "load_backbone",
        "load_data",
        "load_predictor",
        "local_executor",
        "measure",
        "method_named",
        "own_task",
        "race",
        "ray_executor",
        "read_results",
        "run",
        "save_what_trains",
        "select",
        "set_fast_dropout",
        "start_from",
        "sweep",
        "tune",
        "write_example",
    ]
    for name in hyperadapters.__all__:
        assert getattr(hyperadapters, name).__doc__ or name in ("METHODS", "TASKS")


USERS_CODE = """
import hyperadapters as ha

backbone, tokenizer = ha.load_backbone("embedded")
delta = ha.attach(backbone, "compacter")
ids = tokenizer(["a"], return_tensors="pt").input_ids
backbone.generate(input_ids=ids)
delta.backbone.generate(input_ids=ids)
with delta.disabled() as base:
    base.generate(input_ids=ids)
with delta.rows("a") as same:
    same(input_ids=ids, labels=ids)
delta.detach().generate(input_ids=ids)
"""


@pytest.mark.slow  # mypy reads all of transformers
def test_a_users_code_type_checks(tmp_path):
    (tmp_path / "theirs.py").write_text(USERS_CODE)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "theirs.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
