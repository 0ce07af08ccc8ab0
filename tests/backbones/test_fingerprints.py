"""The fingerprint of a backbone: the same whatever its parameters are called, another for other weights."""

import copy
from collections.abc import Callable

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_encoders import tiny_encoder

from conftest import make_tiny
from hyperadapters import METHODS, InputError, Pool, attach, load
from hyperadapters.backbones.fingerprints import fingerprint


def rename(module: torch.nn.Module, name: Callable[[str], str]) -> torch.nn.Module:
    """The module with every name in it changed, but the numbers of a list."""
    for inner in module.modules():
        for table in (inner._modules, inner._parameters):
            for old in [key for key in table if not key.isdigit()]:
                table[name(old)] = table.pop(old)
    return module


def swap(backbone, one: str, other: str) -> None:
    a, b = backbone.get_parameter(one), backbone.get_parameter(other)
    a.data, b.data = b.data.clone(), a.data.clone()


QUERY, KEY = (f"encoder.block.0.layer.0.SelfAttention.{name}.weight" for name in "qk")


def test_names_and_the_order_of_registration_do_not_decide(tiny):
    before = fingerprint(tiny)
    after = fingerprint(rename(copy.deepcopy(tiny), lambda name: f"new_{name}"))
    assert before.weights != after.weights  # where names are known, what each holds is compared
    assert before.differences(after) == after.differences(before) == []
    reordered = copy.deepcopy(tiny)
    for inner in reordered.modules():
        for key in [key for key in reversed(inner._modules) if not key.isdigit()]:
            inner._modules[key] = inner._modules.pop(key)
    assert before.differences(fingerprint(reordered)) == []


@pytest.mark.parametrize("renamed", [False, True])
def test_layers_in_another_order_are_another_backbone(renamed, tiny):
    before = fingerprint(tiny)
    blocks = tiny.encoder.block[:1][0].layer[-1], tiny.encoder.block[1].layer[-1]
    tiny.encoder.block[0].layer[-1], tiny.encoder.block[1].layer[-1] = reversed(blocks)
    after = fingerprint(rename(tiny, lambda name: f"new_{name}") if renamed else tiny)
    assert before.differences(after)
    assert after.differences(before)


def test_weights_of_one_shape_that_changed_places_are_another_backbone(tiny):
    before = fingerprint(tiny)
    swap(tiny, QUERY, KEY)
    (said,) = before.differences(fingerprint(tiny))
    assert "the weights are others" in said


@pytest.mark.parametrize("renamed", [False, True])
def test_one_other_weight_is_another_backbone(renamed, tiny):
    before = fingerprint(tiny)
    with torch.no_grad():
        tiny.get_parameter(QUERY)[3, 4] += 0.1
    assert before.differences(fingerprint(rename(tiny, str.upper) if renamed else tiny))


def test_an_adapter_loads_where_transformers_has_renamed_the_backbones_parameters(tmp_path):
    attach(make_tiny(), METHODS["compacter++"]).save(tmp_path)
    other = make_tiny()
    for block in other.encoder.block:  # the embeddings of positions, which no site touches
        attention = block.layer[0].SelfAttention
        if hasattr(attention, "relative_attention_bias"):
            attention._modules["bias_of_positions"] = attention._modules.pop("relative_attention_bias")
    load(tmp_path, other).detach()
    with torch.no_grad():
        other.shared.weight.add_(0.1)
    with pytest.raises(InputError, match="the weights are others"):
        load(tmp_path, other)


@pytest.fixture
def without_pooler(tmp_path):
    """An encoder's folder whose weights lack the pooler, as many checkpoints do."""
    folder = tiny_encoder(tmp_path / "bert")
    weights = folder / "model.safetensors"
    save_file({k: v for k, v in load_file(weights).items() if "pooler" not in k}, weights, {"format": "pt"})
    return folder


def test_a_pooler_that_is_drawn_at_each_loading_keeps_no_adapter_from_a_model_without_a_head(without_pooler, tmp_path):
    one, other = (transformers.AutoModel.from_pretrained(without_pooler) for _ in range(2))
    assert not torch.equal(one.pooler.dense.weight, other.pooler.dense.weight)
    delta = attach(one, METHODS["houlsby"])
    delta.save(tmp_path / "adapter")
    again, alone = load(tmp_path / "adapter", other), load(tmp_path / "adapter")
    assert type(alone.backbone) is transformers.BertModel  # its file says that it had no head
    ids = torch.randint(3, 90, (2, 7))
    found = [made.backbone.eval()(ids).last_hidden_state for made in (delta, again, alone)]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_head_that_reads_another_pooler_refuses_the_adapter_and_says_why(without_pooler, tmp_path):
    make = transformers.AutoModelForSequenceClassification.from_pretrained
    backbone = make(without_pooler)
    delta = attach(backbone, METHODS["houlsby"], outputs=3)
    delta.save(tmp_path / "adapter")
    with pytest.raises(InputError, match="the pooler, which the task head reads, is another"):
        load(tmp_path / "adapter", make(without_pooler))
    with delta.disabled():  # as the error advises
        backbone.save_pretrained(tmp_path / "kept")
    load(tmp_path / "adapter", make(tmp_path / "kept"))


def test_an_adapter_made_without_a_head_leaves_the_head_that_it_finds(without_pooler, tmp_path):
    delta = attach(transformers.AutoModel.from_pretrained(without_pooler), METHODS["houlsby"])
    delta.save(tmp_path / "adapter")
    for name in ("AutoModelForSequenceClassification", "AutoModelForTokenClassification"):
        backbone = getattr(transformers, name).from_pretrained(
            without_pooler, num_labels=5, ignore_mismatched_sizes=True
        )
        ids = torch.randint(3, 90, (2, 7))
        logits = backbone.eval()(ids).logits
        loaded = load(tmp_path / "adapter", backbone)
        assert (loaded.outputs, loaded.tensors().keys()) == (None, delta.tensors().keys())
        assert backbone(ids).logits.shape == logits.shape
        with Pool(loaded.detach(), {"one": tmp_path / "adapter"}).rows("one"):
            backbone(ids)
