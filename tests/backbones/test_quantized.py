"""Quantised backbones under every adapter method, on a CPU. What is not installed is skipped."""

from importlib.util import find_spec

import pytest
import torch
from families import FAMILIES
from quantizers import QUANTIZERS, integers, wide

from hyperadapters import METHODS, InputError, attach, load, method_named
from hyperadapters.backbones.fingerprints import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore")  # the packages' own
every_quantizer = pytest.mark.parametrize(
    "how",
    [
        pytest.param(how, marks=pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed"))
        for how, (package, _) in QUANTIZERS.items()
    ],
)

ADAPTERS = ("houlsby", "pfeiffer", "adapterdrop", "lowrank", "phm", "compacter", "compacter++", "bitfit")


def quantized(how: str, name: str):
    """A family's model."""
    return QUANTIZERS[how][1](FAMILIES[name])


@every_quantizer
@pytest.mark.parametrize("name", ["t5", "bert", "llama", "modernbert"])
@pytest.mark.parametrize("method", ADAPTERS)
def test_every_adapter_trains_on_quantised_layers_and_leaves_them_alone(how, name, method, tmp_path):
    backbone, batch = quantized(how, name), FAMILIES[name].batch()
    before_training = integers(backbone)
    assert before_training
    with torch.no_grad():
        before = backbone(**batch).logits
    changes = {"bitfit": {}, "phm": {"bottleneck": 8, "n": 4}}.get(method, {"bottleneck": 8})
    delta = attach(backbone, method_named(method, changes))
    optimizer = torch.optim.AdamW(delta.trained().values(), lr=1e-2)
    for _ in range(2):
        backbone(**batch).logits.pow(2).mean().backward()
        assert all(tensor.grad is not None for tensor in delta.trained().values())
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        after = backbone(**batch).logits
    assert not torch.equal(after, before)
    delta.save(tmp_path)
    fresh = quantized(how, name)
    load(tmp_path, fresh)
    with torch.no_grad():
        assert torch.equal(fresh(**batch).logits, after)
        delta.detach()
        assert torch.equal(backbone(**batch).logits, before)
    assert all(torch.equal(now, then) for now, then in zip(integers(backbone), before_training, strict=True))


@every_quantizer
def test_an_adapter_for_a_quantised_backbone_does_not_go_on_the_one_it_was_made_from(how, tmp_path):
    attach(quantized(how, "llama"), method_named("houlsby", {"bottleneck": 8})).save(tmp_path)
    plain = FAMILIES["llama"].make() if "torchao" in how else wide(FAMILIES["llama"])
    with pytest.raises(InputError, match="the weights are others"):
        load(tmp_path, plain)


@every_quantizer
def test_a_pass_without_gradients_changes_neither_training_nor_the_fingerprint(how):
    backbone, batch = quantized(how, "llama"), FAMILIES["llama"].batch()
    with torch.no_grad():
        backbone(**batch)  # before there is an adapter
    marks, gradients = [], []
    for evaluated in (False, True):
        torch.manual_seed(0)
        delta = attach(backbone, method_named("houlsby", {"bottleneck": 8}))
        if evaluated:
            with torch.no_grad():
                backbone(**batch)
        loss = backbone(**batch).logits.pow(2).mean()
        gradients.append(torch.autograd.grad(loss, list(delta.trained().values())))
        marks.append(delta.fingerprint())
        delta.detach()
    assert marks[0] == marks[1] == fingerprint(quantized(how, "llama"))
    for one, other in zip(*gradients, strict=True):
        assert one.any()
        torch.testing.assert_close(one, other)


@every_quantizer
@pytest.mark.parametrize("method", ["full", "intrinsic-said"])
def test_methods_that_move_every_tensor_say_that_they_cannot(how, method):
    with pytest.raises(InputError, match="moves every tensor of the backbone, but 14 are quantised"):
        attach(quantized(how, "llama"), METHODS[method])


def test_a_quantised_head_is_refused():
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    backbone = FAMILIES["bert"].make()
    quantization.quantize_(backbone, quantization.Int8WeightOnlyConfig())
    with pytest.raises(InputError, match=r"classifier.weight is quantised and cannot be trained"):
        attach(backbone, METHODS["houlsby"])
