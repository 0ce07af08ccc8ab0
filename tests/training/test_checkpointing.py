"""Training that computes its layers again in the backward pass: the same Delta, with less kept."""

import copy
from dataclasses import replace

import pytest
import torch
from families import DROPOUT, FAMILIES
from toy_tasks import toy
from training_runs import SHORT, same

from hyperadapters import METHODS, Experiment, InputError, MixtureTask, Training, attach, fit, method_named
from hyperadapters.backbones.checkpointing import _enable_checkpointing
from hyperadapters.runs.running import run
from hyperadapters.training.prepared_backbone import training_backbone
from hyperadapters.training.profiling import measure

KINDS = {"t5": "encoder-decoder", "bert": "encoder", "llama": "decoder"}


@pytest.mark.parametrize("fast_dropout", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_layers_computed_again_draw_the_same_dropout_and_train_the_same(name, fast_dropout):
    family, data = FAMILIES[name], toy(KINDS[name])
    dropout = {key: 0.2 for key in DROPOUT if key in family.config(**family.sizes).to_dict()}
    deltas, kept = [], []
    for again in (False, True):
        torch.manual_seed(0)
        delta = attach(family.make(**dropout), method_named("compacter", {"bottleneck": 8}))
        training = replace(SHORT, epochs=1, fast_dropout=fast_dropout, gradient_checkpointing=again)
        fit(delta, data, training, quiet=True)
        deltas.append(delta)
        with training_backbone(delta.backbone, training):
            kept.append(measure(delta, data, batch_size=8).saved_activations)
    same(*deltas, rtol=1e-3, atol=1e-6)
    assert kept[1] < 0.8 * kept[0]


@pytest.mark.parametrize("name", KINDS)
def test_after_the_backward_pass_the_backbone_holds_nothing_of_the_delta(name):
    """A layer's second pass ends where the backward pass needs no more of it, in BERT inside a norm."""
    family = FAMILIES[name]
    backbone = family.make()
    attach(backbone, method_named("compacter", {"bottleneck": 8}))
    _enable_checkpointing(backbone.train())
    before = {path: set(vars(module)) for path, module in backbone.named_modules()}
    backbone(**family.batch(), use_cache=False).logits.sum().backward()
    assert {path: set(vars(module)) for path, module in backbone.named_modules()} == before
    copy.deepcopy(backbone)


def test_a_run_that_is_refused_leaves_nothing_behind(tmp_path):
    small = Experiment(
        method=METHODS["houlsby"],
        task=MixtureTask.named("demo/sentiment", "demo/paraphrase"),
        training=Training(lr=1e-3, compile=True),
    )
    with pytest.raises(InputError, match="training.compile is for one task"):
        run(small, tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_an_architecture_without_checkpointing_says_so():
    delta = attach(FAMILIES["albert"].make(), METHODS["houlsby"])
    with pytest.raises(InputError, match="has no gradient checkpointing: leave out"):
        fit(delta, toy("encoder"), replace(SHORT, gradient_checkpointing=True), quiet=True)
