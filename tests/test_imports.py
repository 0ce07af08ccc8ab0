"""Each part knows only those to its left (docs/decisions.md)."""

import ast
import importlib
from pathlib import Path

import pytest

import hyperadapters

PACKAGE = Path(hyperadapters.__file__).parent

ORDER = [
    "errors",
    "names",
    "versions",
    "settings",
    "progress",
    "files",
    "gauges",
    "card",
    "layers",
    "placement",
    "anatomy",
    "dropout",
    "attention",
    "backbone",
    "methods",
    "labels",
    "tables",
    "metrics",
    "tasks",
    "kinds",
    "data",
    "experiment",
    "evaluate",
    "measure",
    "compiled",
    "cost",
    "papers",
    "store",
    "pool",
    "predict",
    "serve",
    "start",
    "tracking",
    "train",
    "run",
    "packed",
    "attempt",
    "engines",
    "cluster",
    "sweep",
    "forecast",
    "selection",
    "published",
    "summary",
    "figures",
    "document",
    "page",
    "report",
    "cli",
]


def imports(path: Path) -> set[str]:
    """Parts of the package that a file imports, function-local imports too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "hyperadapters":
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hyperadapters."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {n.name.split(".")[1] for n in node.names if n.name.startswith("hyperadapters.")}
    return found


def parts() -> dict[str, list[Path]]:
    named: dict[str, list[Path]] = {}
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part != "__init__":
            named.setdefault(part, []).append(path)
    return named


def test_every_part_has_its_place_in_the_order():
    assert sorted(parts()) == sorted(ORDER)


def test_no_part_imports_one_to_its_right():
    back = {
        f"{part} imports {other}"
        for part, paths in parts().items()
        for path in paths
        for other in imports(path)
        if other != part and ORDER.index(other) > ORDER.index(part)
    }
    assert not back


ROOT = PACKAGE.parents[1]


@pytest.mark.skipif(not (ROOT / "experiments").is_dir(), reason="the package is installed without the repository")
def test_experiments_and_benchmarks_find_what_they_take_from_the_package():
    missing = []
    for path in (*ROOT.glob("experiments/*.py"), *ROOT.glob("benchmarks/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hyperadapters":
                found = importlib.import_module(node.module)
                there = {*dir(found), *parts()}
                missing += [f"{path.name}: {node.module}.{n.name}" for n in node.names if n.name not in there]
    assert not missing


def test_the_tensor_code_knows_no_transformer():
    for path in (PACKAGE / "layers").glob("*.py"):
        assert "import transformers" not in path.read_text(encoding="utf-8")
        assert "from transformers" not in path.read_text(encoding="utf-8")


def test_no_file_names_a_layer_of_any_family():
    names = ("SelfAttention", "DenseReluDense", "layer_norm", "o_proj", "down_proj", "self_attn", "c_proj", "fc2")
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8").replace("F.layer_norm", "")  # PyTorch's function
        assert not any(word in text for word in names), path


def test_the_public_names_are_these():
    assert sorted(hyperadapters.__all__) == [
        "Adapter",
        "AdaptersMultiTask",
        "BitFit",
        "Compacter",
        "Cost",
        "Data",
        "Delta",
        "Evaluation",
        "Experiment",
        "FilesTask",
        "Fitted",
        "FullFineTuning",
        "FullMultiTask",
        "HyperCompacter",
        "HyperFormer",
        "HyperFormerPlusPlus",
        "HyperPHM",
        "InputError",
        "InstructionsTask",
        "Interrupted",
        "IntrinsicSAID",
        "Layout",
        "LowRankAdapter",
        "METHODS",
        "Method",
        "Mixture",
        "MixtureTask",
        "NamedTask",
        "NonFiniteLossError",
        "PHMAdapter",
        "Parameters",
        "Pool",
        "Predictor",
        "PromptTuning",
        "Result",
        "Scores",
        "Start",
        "TASKS",
        "Text",
        "Training",
        "attach",
        "attached",
        "evaluate",
        "fit",
        "instruction_task",
        "load",
        "load_backbone",
        "load_data",
        "load_predictor",
        "measure",
        "method_named",
        "own_task",
        "parameters",
        "parameters_of",
        "run",
        "set_fast_dropout",
        "start_from",
    ]
    for name in hyperadapters.__all__:
        assert getattr(hyperadapters, name).__doc__ or name in ("METHODS", "TASKS")
