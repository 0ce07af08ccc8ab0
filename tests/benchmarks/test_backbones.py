"""A few probes of the table in docs/backbones.md; the benchmark runs all."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "backbones.py"
SPEC = importlib.util.spec_from_file_location("backbones_benchmark", PATH)
backbones = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(backbones)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("probe", ["train", "generate", "checkpointing", "mixed batch"])
@pytest.mark.parametrize("family", ["t5", "llama"])
@pytest.mark.parametrize("method", ["houlsby", "compacter", "bitfit"])
def test_a_probe_of_the_table_passes(family, method, probe):
    assert backbones.PROBES[probe](backbones.FAMILIES[family], method)


def test_a_cell_names_the_methods_for_which_its_probe_fails(monkeypatch):
    assert backbones.cell("generate", "bert") == "–"
    monkeypatch.setitem(backbones.PROBES, "train", lambda family, method: method != "bitfit")
    assert backbones.cell("train", "llama") == "not bitfit"
    monkeypatch.setitem(backbones.PROBES, "train", lambda family, method: 1 / 0)
    assert backbones.cell("train", "llama") == "no"
