"""PEFT's own layers in a backbone with a Delta: one order, or an error; and no part of a backbone is copied alone."""

import copy

import pytest
import torch
from disturbed import disturb, logits
from families import FAMILIES

import hyperadapters as ha

peft = pytest.importorskip("peft", reason="peft is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning", "ignore:fan_in_fan_out")


def lora(backbone, **changes):
    config = peft.LoraConfig(r=2, target_modules=["c_proj"], fan_in_fan_out=True, init_lora_weights=False, **changes)
    return peft.get_peft_model(backbone, config).eval()


@pytest.mark.parametrize("method", ["houlsby", "bitfit", "side"])
def test_a_delta_under_lora_computes_the_same_after_it_has_rested(method, tmp_path):
    backbone, batch = FAMILIES["gpt2"].make(), FAMILIES["gpt2"].batch()
    delta = disturb(ha.attach(backbone, method))
    alone = logits(backbone, batch)
    model = lora(backbone)
    both = logits(model, batch)
    assert (both - alone).abs().max() > 1e-3
    with delta.disabled():
        assert not torch.equal(logits(model, batch), both)
    assert torch.equal(logits(model, batch), both)
    delta.save(tmp_path)
    model.unload()
    assert torch.equal(logits(backbone, batch), alone)
    delta.detach()
    assert torch.equal(logits(ha.load(tmp_path, backbone).backbone, batch), alone)


def test_a_backbone_with_layers_of_peft_gets_no_delta_until_they_are_merged(tmp_path):
    backbone, batch = FAMILIES["gpt2"].make(), FAMILIES["gpt2"].batch()
    ha.attach(FAMILIES["gpt2"].make(), "houlsby").save(tmp_path)
    model = lora(backbone)
    for attach in (lambda: ha.attach(backbone, "houlsby"), lambda: ha.load(tmp_path, backbone)):
        with pytest.raises(ha.InputError, match=r"PEFT stands around 4 modules .*c_proj.* call model.merge_and_unload"):
            attach()
    merged = model.merge_and_unload()
    expected = logits(merged, batch)
    ha.attach(merged, "houlsby").rest()
    assert torch.equal(logits(merged, batch), expected)


def test_a_head_that_computes_with_a_delta_is_not_copied_by_peft():
    backbone = FAMILIES["bert"].make()
    delta = ha.attach(backbone, "houlsby", outputs=3)
    with pytest.raises(ha.InputError, match=r"copied by itself .*'default'.* Call the Delta's `detach`"):
        peft.get_peft_model(backbone, peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))
    with pytest.raises(ha.InputError, match="copied by itself"):
        copy.deepcopy(backbone.classifier)
    delta.rest()
    copy.deepcopy(backbone.classifier)


def test_a_delta_is_copied_with_its_backbone_from_wherever_the_copy_begins():
    backbone, batch = FAMILIES["bert"].make(), FAMILIES["bert"].batch()
    delta = disturb(ha.attach(backbone, "houlsby"))
    expected = logits(backbone, batch)
    copies = [copy.deepcopy(backbone), copy.deepcopy(delta).backbone, copy.deepcopy([delta, backbone])[1]]
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.zero_()
    for copied in copies:
        assert torch.equal(logits(copied, batch), expected)
        (own,) = ha.attached(copied)
        assert own is not delta
        assert own.backbone is copied
