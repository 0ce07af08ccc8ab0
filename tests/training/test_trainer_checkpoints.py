"""Checkpoints of transformers' Trainer on an attached backbone: the Delta alone, resumed to the bit."""

import copy
import pickle

import pytest
import torch
from accelerate import Accelerator
from contract_methods import METHODS
from safetensors.torch import load_file
from short_trainers import trainer_of
from transformers import AutoModelForSeq2SeqLM

from conftest import make_batch, make_tiny
from hyperadapters import InputError, attach, load, save_what_trains

METHODS_OF_ALL_KINDS = [
    "compacter",
    "bitfit",
    "full",
    "prompt-r",
    pytest.param("intrinsic-said", marks=pytest.mark.slow),
]


def logits(backbone):
    with torch.no_grad():
        return backbone.eval()(**make_batch(2)).logits


@pytest.fixture(params=METHODS_OF_ALL_KINDS)
def trained(request, tmp_path):
    delta = attach(make_tiny(), METHODS[request.param], seed=0)
    trainer_of(delta.backbone, tmp_path).train()
    return request.param, delta, tmp_path


def test_a_checkpoint_holds_what_trains_and_resumes_to_the_same_bits(trained):
    method, delta, folder = trained
    kept = load_file(folder / "checkpoint-4" / "model.safetensors")
    if method != "full":
        assert kept.keys() == {f"hyperadapters.{delta.name}.{key}" for key in delta.state_dict()}
    again = attach(make_tiny(), METHODS[method], seed=1)
    trainer_of(again.backbone, folder).train(resume_from_checkpoint=str(folder / "checkpoint-4"))
    for key, tensor in delta.trained().items():
        assert torch.equal(again.trained()[key], tensor)


def test_a_checkpoint_is_an_adapter_that_opens_and_no_model(trained):
    _, delta, folder = trained
    found = load(folder / "checkpoint-6", make_tiny())
    assert torch.equal(logits(found.backbone), logits(delta.backbone))
    with pytest.raises((OSError, ValueError)):
        AutoModelForSeq2SeqLM.from_pretrained(folder / "checkpoint-6")
    delta.save(folder / "checkpoint-6")  # over itself


def test_the_best_checkpoint_is_loaded_at_the_end(tmp_path):
    delta = attach(make_tiny(), METHODS["houlsby"], seed=0)
    how = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "metric_for_best_model": "loss"}
    trainer = trainer_of(delta.backbone, tmp_path, **how)
    trainer.train()
    best = load(trainer.state.best_model_checkpoint, make_tiny())
    assert all(torch.equal(best.trained()[key], tensor) for key, tensor in delta.trained().items())


def test_a_model_is_not_overwritten(tmp_path):
    backbone = make_tiny()
    backbone.save_pretrained(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    delta = attach(backbone, METHODS["houlsby"])
    for beside in ((), ("adapter_config.json",)):  # that of an adapter which someone put there
        for name in beside:
            (tmp_path / name).write_text("{}")
        for save in (backbone.save_pretrained, delta.save):
            with pytest.raises(InputError, match="holds a model"):
                save(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == whole


def test_what_is_trained_beside_the_delta_is_saved_too(tmp_path):
    backbone = attach(make_tiny(), METHODS["houlsby"]).backbone
    backbone.shared.weight.requires_grad_()
    backbone.save_pretrained(tmp_path)
    others = {key for key in load_file(tmp_path / "model.safetensors") if not key.startswith("hyperadapters.")}
    assert others == {"shared.weight"}  # the output layer's is the same tensor


def test_accelerates_checkpoints_hold_what_trains(tmp_path):
    accelerator = Accelerator(cpu=True)
    delta = attach(make_tiny(), METHODS["compacter"], seed=0)
    backbone = accelerator.prepare(delta.backbone)
    accelerator.register_save_state_pre_hook(save_what_trains)
    expected = logits(backbone)
    accelerator.save_state(str(tmp_path / "state"))
    kept = load_file(tmp_path / "state" / "model.safetensors")
    assert kept.keys() == {f"hyperadapters.{delta.name}.{key}" for key in delta.state_dict()}
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.zero_()
    accelerator.load_state(str(tmp_path / "state"), strict=False)
    assert torch.equal(logits(backbone), expected)


def test_with_no_delta_in_use_the_backbone_is_saved_as_it_was(tmp_path):
    backbone = make_tiny()
    before = logits(backbone)
    delta = attach(backbone, METHODS["houlsby"])
    with delta.disabled():
        backbone.save_pretrained(tmp_path / "a")
    delta.detach()
    backbone.save_pretrained(tmp_path / "b")
    for folder in ("a", "b"):
        assert torch.equal(logits(AutoModelForSeq2SeqLM.from_pretrained(tmp_path / folder)), before)
        assert {path.name for path in (tmp_path / folder).iterdir()} == {
            "config.json",
            "generation_config.json",
            "model.safetensors",
        }


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_saves_its_own_tensors(duplicate, tmp_path):
    backbone = attach(make_tiny(), METHODS["houlsby"], name="one").backbone
    other = duplicate(backbone)
    key = "hyperadapters.one"
    with torch.no_grad():
        for parameter in other.get_submodule(key).parameters():
            parameter.fill_(2.0)
    other.save_pretrained(tmp_path)
    assert all((tensor == 2).all() for tensor in load_file(tmp_path / "model.safetensors").values())
