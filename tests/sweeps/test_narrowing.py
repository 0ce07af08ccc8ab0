"""A list of experiments is filtered by settings, and changed in all of them."""

from dataclasses import replace

import pytest
from sweep_runs import experiment

from hyperadapters import METHODS, InputError
from hyperadapters.sweeps.narrowing import change_all, keep_matching


def test_experiments_are_filtered_and_changed(tmp_path):
    runs = [replace(experiment(tmp_path), method=METHODS[name]) for name in ("full", "compacter")]
    runs += [replace(run, training=replace(run.training, lr=3e-2)) for run in runs]
    assert keep_matching(runs, {"method": "compacter"}) == [runs[1], runs[3]]
    assert keep_matching(runs, {"method": "compacter,full", "training.lr": "3e-2"}) == runs[2:]
    assert keep_matching(runs, {"method.n": "4"}) == [runs[1], runs[3]]
    assert keep_matching(runs, {"training.adapter_precision": "fp32", "training.steps": "none"}) == runs
    changed = change_all(runs, backbone="t5-small", changes={"method.n": "8", "training.epochs": "5"})
    assert {run.backbone for run in changed} == {"t5-small"}
    assert {run.training.epochs for run in changed} == {5}
    assert changed[1].method == replace(METHODS["compacter"], n=8)
    assert changed[0].method == METHODS["full"]


def test_a_method_is_taken_by_its_name_in_every_size(tmp_path):
    presets = (METHODS["houlsby"], METHODS["pfeiffer"])
    methods = [replace(preset, bottleneck=size) for preset in presets for size in (24, 48)]
    runs = [replace(experiment(tmp_path), method=method) for method in methods]
    assert keep_matching(runs, {"method": "pfeiffer"}) == runs[2:]
    assert keep_matching(runs, {"method": "pfeiffer", "method.bottleneck": "48"}) == runs[3:]
    with pytest.raises(InputError, match="There are: houlsby, pfeiffer"):
        keep_matching(runs, {"method": "adapter"})


def test_wrong_filters_and_settings_are_refused(tmp_path):
    runs = [experiment(tmp_path)]
    with pytest.raises(InputError, match="no experiment is left. There are: compacter"):
        keep_matching(runs, {"method": "ful"})
    with pytest.raises(InputError, match="no experiment has that setting"):
        keep_matching(runs, {"rate": "1"})
    with pytest.raises(InputError, match="no experiment is left. There are: None"):
        keep_matching(runs, {"training.steps": "100"})
    with pytest.raises(InputError, match="none of the methods has that field"):
        change_all(runs, changes={"method.rang": "1"})
