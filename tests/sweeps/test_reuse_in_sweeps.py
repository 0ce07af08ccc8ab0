"""Runs of a sweep share the states of frozen layers, alone and in packs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_backbones import small_run  # noqa: F401 (a fixture)
from sweep_runs import here

from hyperadapters import Compacter, sweep
from hyperadapters.runs import run

TOP = Compacter(positions=("feed_forward",), first_layer=2, norms="above")


def reusing(small: Any, lr: float, reuse: str = "fp32") -> Any:
    return replace(small, method=TOP, training=replace(small.training, lr=lr, reuse=reuse))


@pytest.mark.parametrize(
    "pack", [pytest.param(0, id="one by one", marks=pytest.mark.slow), pytest.param(1, id="packed")]
)
def test_a_sweep_scores_as_without_reuse_and_leaves_no_states(small: Any, pack: int, tmp_path: Path) -> None:
    scores = {}
    for reuse in ("none", "fp32"):
        plans = [reusing(small, lr, reuse) for lr in (1e-2, 3e-2)]
        found = sweep(plans, tmp_path / reuse, pack=pack, executor=here, quiet=True)
        assert not found.failed
        scores[reuse] = [(result.metrics, result.steps) for result in found.results.values()]
        assert not (tmp_path / reuse / "states").exists()
    assert scores["none"] == scores["fp32"]


def test_runs_share_a_folder_of_states_that_stays(small: Any, tmp_path: Path) -> None:
    states = tmp_path / "kept"
    run(reusing(small, 1e-2), tmp_path / "one", states=states, quiet=True)
    files = sorted(states.rglob("*.safetensors"))
    assert files
    run(reusing(small, 3e-2), tmp_path / "two", states=states, quiet=True)
    assert sorted(states.rglob("*.safetensors")) == files
    assert not (tmp_path / "two" / "states").exists()


def test_a_run_that_has_ended_leaves_no_states(small: Any, tmp_path: Path) -> None:
    run(reusing(small, 1e-2), tmp_path / "run", quiet=True)
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_dir()) == []
