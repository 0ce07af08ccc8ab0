"""Which runs are trained together."""

from dataclasses import fields, replace

import pytest
from packs import experiment

from hyperadapters import METHODS, MixtureTask, NamedTask, Text, Training, method_named
from hyperadapters.sweeps.packing import _OWN, _packs


def test_runs_that_differ_in_training_are_packed_and_others_are_not():
    base = experiment()
    few = replace(base, text=Text(train_rows=10))
    runs = {
        "base": base,
        "rate": experiment(lr=1.0),
        "seed": experiment(seed=9),
        "few": few,
        "batch": experiment(batch_size=7),
        "backbone in bf16": experiment(backbone_precision="bf16"),
        "adapter in bf16": experiment(adapter_precision="bf16"),
        "reused states": experiment(reuse="fp32"),
        "computed again": experiment(gradient_checkpointing=True),
        "text": replace(base, text=Text(source_length=64)),
        "task": replace(base, task=NamedTask(name="glue/cola")),
        "houlsby": experiment("houlsby"),
        "houlsby again": experiment("houlsby", lr=1e-4),
    }
    assert _packs(runs) == [["base", "rate", "few", "seed"], ["houlsby", "houlsby again"]]


def test_of_the_settings_that_a_pack_may_mix_each_run_has_its_own_and_every_other_is_shared():
    """A new setting of training is shared until it is said that each run of a pack can have its own."""
    shared = {"batch_size", "accumulation", "label_smoothing", "precision", "backbone_precision", "adapter_precision"}
    shared |= {"gradient_checkpointing", "reuse", "fast_dropout", "compile"}
    assert {field.name for field in fields(Training)} == shared | {*_OWN}
    assert not shared & {*_OWN}


@pytest.mark.parametrize(
    "method",
    ["full", "full-multitask", "intrinsic-said", "adapters-multitask", "hyperformer++", "hyper-compacter", "peft:lora"],
)
def test_a_method_whose_tensors_have_no_axis_of_adapters_is_not_packed(method):
    chosen = method_named(method)
    assert not _packs({"1": experiment(chosen), "2": experiment(chosen, lr=1.0)})


def test_an_output_layer_that_trains_checkpointing_and_a_mixture_are_not_packed():
    with_output = replace(METHODS["compacter"], output_layer=True)
    assert not _packs({"1": experiment(with_output), "2": experiment(with_output, lr=1.0)})
    again = {lr: experiment(lr=lr, gradient_checkpointing=True) for lr in (1e-3, 1e-2)}
    assert not _packs(again)
    mixed = [replace(experiment(lr=lr), task=MixtureTask.named("glue/rte", "glue/cola")) for lr in (1e-3, 1e-2)]
    assert not _packs(dict(enumerate(mixed)))


def test_packs_are_split_for_several_processes_and_keep_seeds_together():
    runs = {f"{rate} {seed}": experiment(lr=rate, seed=seed) for rate in (1e-3, 1e-2) for seed in (1, 2, 3)}
    assert _packs(runs) == [["0.001 1", "0.01 1", "0.001 2", "0.01 2", "0.001 3", "0.01 3"]]
    assert _packs(runs, 2) == [["0.001 1", "0.01 1", "0.001 2"], ["0.01 2", "0.001 3", "0.01 3"]]
    assert _packs(runs, 3) == [["0.001 1", "0.01 1"], ["0.001 2", "0.01 2"], ["0.001 3", "0.01 3"]]
    assert _packs(runs, 4) == [["0.01 1", "0.001 2"], ["0.001 3", "0.01 3"]]
    assert _packs(runs, 6) == []
