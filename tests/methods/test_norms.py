"""Norms and task head alone, and the recipe that compares them with adapters on an encoder."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from families import FAMILIES

from hyperadapters import METHODS, InputError, attach, method_named
from hyperadapters.methods.registry import count_parameters

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_norms_and_head_train_and_nothing_else():
    count = count_parameters(attach(FAMILIES["bert"].make(), METHODS["norms"], outputs=3)).by_kind
    assert count == {"norm": FAMILIES["bert"].norms, "head": 3 * 32 + 3}


def test_the_head_alone_can_train():
    count = count_parameters(attach(FAMILIES["bert"].make(), method_named("norms", {"norms": False}))).by_kind
    assert count == {"head": FAMILIES["bert"].head}


def test_nothing_at_all_is_refused(tiny):
    with pytest.raises(InputError, match="trains the task head alone, but this backbone has none"):
        attach(tiny, method_named("norms", {"norms": False}))


def test_the_recipe_on_an_encoder_is_houlsbys_table_with_this_librarys_methods(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    import houlsby_bert

    found = houlsby_bert.experiments()
    sys.modules.pop("houlsby_bert")
    assert {e.task.name for e in found} == {f"glue/{name}" for name in ("cola", "sst2", "mrpc", "rte", "stsb")}
    assert {e.training.seed for e in found} == {42, 43, 44}
    houlsbys = [e.method for e in found if getattr(e.method, "activation", "") == "gelu"]
    sizes = Counter(method.bottleneck for method in houlsbys)
    assert set(sizes) == {8, 16, 32, 64, 128, 256}
    assert len(set(sizes.values())) == 1
    methods = {str(e.method) for e in found}
    assert len(methods) == 18
    assert len({str(e) for e in found}) == len(found) == 18 * 5 * 3 * 3
