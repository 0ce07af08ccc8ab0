"""Adapters without a non-linearity are LoRA: peft opens what is written, and the logits agree."""

import pytest
import torch
from disturbed import disturb, logits
from families import FAMILIES

from hyperadapters import Adapter, attach
from hyperadapters.storage import export_lora

peft = pytest.importorskip("peft")
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # what peft asks transformers
    pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed"),  # peft itself could not merge it, which we can
]
LINEAR = sorted(name for name in FAMILIES if name != "mixtral")


@pytest.mark.parametrize("name", LINEAR)
def test_peft_opens_the_folder_and_computes_the_same_logits(name, tmp_path):
    family = FAMILIES[name]
    backbone, batch = family.make(), family.batch()
    delta = disturb(attach(backbone, Adapter(bottleneck=8, activation="identity")))
    expected = logits(backbone, batch)
    export_lora(delta, tmp_path / "lora")
    with delta.disabled():
        assert (logits(backbone, batch) - expected).abs().max() > 1e-3
    opened = peft.PeftModel.from_pretrained(family.make(), tmp_path / "lora").eval()
    torch.testing.assert_close(logits(opened, batch), expected, atol=1e-5, rtol=0)


def test_an_output_layer_that_trains_goes_with_its_bias(tmp_path):
    """Modules are replaced by peft as a whole: the bias is the backbone's own."""
    family = FAMILIES["phi"]
    backbone, batch = family.make(), family.batch()
    with torch.no_grad():
        backbone.lm_head.bias.normal_()
    backbone.save_pretrained(tmp_path / "base")
    delta = disturb(attach(backbone, Adapter(bottleneck=4, activation="identity", output_layer=True)))
    expected = logits(backbone, batch)
    export_lora(delta, tmp_path / "lora")
    opened = peft.PeftModel.from_pretrained(type(backbone).from_pretrained(tmp_path / "base"), tmp_path / "lora").eval()
    torch.testing.assert_close(logits(opened, batch), expected, atol=1e-5, rtol=0)
