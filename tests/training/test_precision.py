"""Runs whose backbone or adapter is held in bfloat16: what is saved, and that all that follows holds it alike."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from small_backbones import small_run  # noqa: F401 (a fixture)
from training_runs import fitted

from conftest import make_tiny
from hyperadapters import (
    METHODS,
    InputError,
    Training,
    attach,
    load,
    method_named,
    start_from,
)
from hyperadapters.delta.saving import TENSORS, describe_delta
from hyperadapters.runs.building import load_task
from hyperadapters.runs.running import run
from hyperadapters.serving.predictor import load_predictor
from hyperadapters.storage.loading import backbone_of, read_config
from hyperadapters.sweeps.packed_runs import _run_together
from hyperadapters.training.evaluation import evaluate

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def held(run_of, backbone="fp32", adapter="fp32"):
    return replace(run_of, training=replace(run_of.training, backbone_precision=backbone, adapter_precision=adapter))


@pytest.mark.parametrize(
    ("backbone", "adapter"),
    [("bf16", "bf16"), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("bf16", "fp32"), ("fp32", "bf16")))],
)
def test_a_run_holds_each_in_its_type_and_so_does_all_that_follows(backbone, adapter, small, tmp_path):
    result = run(held(small, backbone, adapter), tmp_path / "out", quiet=True)
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / TENSORS).values()} == {TYPES[adapter]}
    config = read_config(tmp_path / "out")
    assert (config["backbone"]["precision"], config["precision"]) == (backbone, adapter)
    predictor = load_predictor(tmp_path / "out")
    assert predictor.delta.backbone.dtype == TYPES[backbone]
    assert predictor([{"text": "this farmer sees that king"}])[0] in ("yes", "no")
    model, tokenizer = backbone_of(config)
    delta = load(tmp_path / "out", model)
    found = evaluate(delta, load_task(small, tokenizer, delta.backbone), "validation", small.evaluation)
    assert found.metrics == result.metrics["validation"]


def test_full_fine_tuning_has_the_backbones_type(tmp_path):
    delta = attach(make_tiny().to(torch.bfloat16), METHODS["full"])
    assert describe_delta(delta)["precision"] == "bf16"
    delta.save(tmp_path)
    assert describe_delta(load(tmp_path, make_tiny()))["precision"] == "fp32"
    with pytest.raises(InputError, match="trains the backbone in place, in its own type"):
        attach(make_tiny(), METHODS["full"], precision="bf16")


@pytest.mark.parametrize(("backbone", "adapter"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_a_method_of_peft_has_the_type_that_is_asked_for(backbone, adapter, batch):
    pytest.importorskip("peft", reason="peft is not installed")
    model = make_tiny().to(TYPES[backbone])
    delta = attach(model, method_named("peft:lora"), precision=adapter)
    assert {tensor.dtype for tensor in delta.trained().values()} == {TYPES[adapter]}
    model(**batch).loss.backward()
    assert all(tensor.grad.isfinite().all() for tensor in delta.trained().values())


@pytest.mark.slow
def test_packed_adapters_have_their_type_too(small, tmp_path):
    runs = {tmp_path / str(lr): held(small, adapter="bf16") for lr in (1e-3, 1e-2)}
    runs = {place: replace(run, training=replace(run.training, lr=float(place.name))) for place, run in runs.items()}
    assert not _run_together(runs)
    for place, experiment in runs.items():
        tensors = load_file(place / TENSORS)
        assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
        run(experiment, tmp_path / "alone" / place.name, quiet=True)
        for key, tensor in load_file(tmp_path / "alone" / place.name / TENSORS).items():
            torch.testing.assert_close(tensors[key], tensor, rtol=0.02, atol=1e-3)


@pytest.mark.slow
def test_an_adapter_goes_on_in_the_type_that_the_run_says(small, tmp_path):
    run(held(small, adapter="bf16"), tmp_path / "first", quiet=True)
    run(replace(small, start=start_from(tmp_path / "first")), tmp_path / "second", quiet=True)
    assert {tensor.dtype for tensor in load_file(tmp_path / "second" / TENSORS).values()} == {torch.float32}


@pytest.mark.parametrize("setting", ["backbone_precision", "adapter_precision"])
def test_fit_does_not_pass_over_a_type_that_is_not_there(setting):
    with pytest.raises(InputError, match=f"training.{setting}=bf16: .* it so"):
        fitted(Training(lr=1e-3, **{setting: "bf16"}))
