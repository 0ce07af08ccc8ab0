"""Quantised backbones under every adapter method: torchao's int8 on a CPU. Skipped without torchao."""

import pytest
import torch

from families import FAMILIES
from hyperadapters import METHODS, InputError, attach, load, method_named
from hyperadapters.anatomy import anatomy

quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # torchao's own

ADAPTERS = ("houlsby", "pfeiffer", "adapterdrop", "lowrank", "phm", "compacter", "compacter++", "bitfit")


def quantized(name: str):
    """The family's model with every linear layer in int8, its heads apart."""
    backbone = FAMILIES[name].make()
    apart = {path.rpartition(".")[0] for path in anatomy(backbone).head} | {"lm_head"}
    quantization.quantize_(
        backbone,
        quantization.Int8WeightOnlyConfig(),
        filter_fn=lambda module, path: isinstance(module, torch.nn.Linear) and path not in apart,
    )
    return backbone


def numbers(backbone) -> list[torch.Tensor]:
    """Every quantised tensor's integers."""
    return [tensor.qdata.clone() for tensor in backbone.parameters() if hasattr(tensor, "qdata")]


@pytest.mark.parametrize("name", ["t5", "bert", "llama", "modernbert"])
@pytest.mark.parametrize("method", ADAPTERS)
def test_every_adapter_trains_on_int8_and_leaves_it_alone(name, method, tmp_path):
    backbone, batch = quantized(name), FAMILIES[name].batch()
    integers = numbers(backbone)
    assert integers
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
    fresh = quantized(name)
    load(tmp_path, fresh)
    with torch.no_grad():
        assert torch.equal(fresh(**batch).logits, after)
        delta.detach()
        assert torch.equal(backbone(**batch).logits, before)
    assert all(torch.equal(now, then) for now, then in zip(numbers(backbone), integers, strict=True))


def test_an_adapter_for_a_quantised_backbone_does_not_go_on_the_one_it_was_made_from(tmp_path):
    attach(quantized("llama"), method_named("houlsby", {"bottleneck": 8})).save(tmp_path)
    with pytest.raises(InputError, match="the weights are others"):
        load(tmp_path, FAMILIES["llama"].make())


@pytest.mark.parametrize("method", ["full", "intrinsic-said"])
def test_methods_that_move_every_tensor_say_that_they_cannot(method):
    with pytest.raises(InputError, match="moves every tensor of the backbone, but 14 are quantised"):
        attach(quantized("llama"), METHODS[method])


def test_a_quantised_head_is_refused():
    backbone = FAMILIES["bert"].make()
    quantization.quantize_(backbone, quantization.Int8WeightOnlyConfig())
    with pytest.raises(InputError, match=r"classifier.weight is quantised and cannot be trained"):
        attach(backbone, METHODS["houlsby"])
