"""What methods are called."""

from dataclasses import replace

from hyperadapters import METHODS
from hyperadapters.methods.peft import Peft
from hyperadapters.runs.display_names import label_of


def test_a_method_is_called_by_its_nearest_preset():
    assert label_of(METHODS["compacter++"]) == "compacter++"
    assert label_of(replace(METHODS["compacter++"], n=8)) == "compacter++ (n = 8)"
    assert label_of(replace(METHODS["compacter++"], n=8, norms=False)) == "compacter++ (norms = False, n = 8)"


def test_methods_that_differ_are_called_differently():
    sizes = [replace(METHODS[name], bottleneck=size) for name in ("houlsby", "pfeiffer") for size in (8, 24)]
    assert [label_of(method) for method in sizes] == [
        "houlsby (bottleneck = 8)",
        "houlsby",
        "pfeiffer (bottleneck = 8)",
        "pfeiffer",
    ]
    assert len({label_of(method) for method in METHODS.values()}) == len(METHODS)


def test_a_method_of_peft_is_called_by_its_name_there_and_what_is_set():
    assert label_of(Peft(kind="lora")) == "peft:lora"
    assert label_of(Peft(kind="lora", config={"r": 4})) == "peft:lora (r = 4)"
