"""Methods of the peft library stand in comparisons as ours do."""

import copy
import json
import sys

import pytest
import torch
from disturbed import disturb
from families import FAMILIES
from tiny_encoders import tiny_encoder

from conftest import make_tiny
from hyperadapters import METHODS, InputError, attach, count_parameters, load, load_backbone, method_named
from hyperadapters._utils import read_json, write_json
from hyperadapters.delta.method import method_to_json
from hyperadapters.delta.saving import CONFIG
from hyperadapters.methods.registry import method_from_json
from hyperadapters.runs.display_names import label_of

peft = pytest.importorskip("peft")
WRAPPING = pytest.mark.parametrize(
    ("name", "changes"), [("lora", {"r": "4"}), ("ia3", {}), ("loha", {}), ("vera", {}), ("hra", {})]
)


def logits(backbone, batch):
    with torch.no_grad():
        return backbone(**batch).logits


def train_a_little(delta, batch):
    optimizer = torch.optim.AdamW(delta.trained().values(), lr=1e-2)
    for _ in range(3):
        delta.backbone(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def test_lora_is_what_peft_itself_makes_of_the_same_backbone(tiny, batch):
    delta = attach(tiny, method_named("peft:lora", {"r": "4", "target_modules": '["q", "o"]', "lora_alpha": "16"}))
    config = peft.LoraConfig(r=4, target_modules=["q", "o"], lora_alpha=16)
    other = peft.inject_adapter_in_model(config, make_tiny())
    theirs = {name: tensor for name, tensor in other.named_parameters() if tensor.requires_grad}
    ours = {name.removeprefix("peft.model."): tensor for name, tensor in delta.trained().items()}
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in theirs.items()}
    with torch.no_grad():
        for name, tensor in theirs.items():
            tensor.normal_(std=0.1)
            ours[name].copy_(tensor)
    assert torch.equal(logits(tiny, batch), logits(other, batch))


@WRAPPING
def test_it_trains_is_saved_and_leaves_the_backbone_as_it_was(name, changes, tiny, batch, tmp_path):
    base, keys = logits(tiny, batch), list(tiny.state_dict())
    method = method_named(f"peft:{name}", changes)
    delta = attach(tiny, method, name="other")
    train_a_little(delta, batch)
    adapted = logits(tiny, batch)
    assert not torch.equal(adapted, base)
    assert count_parameters(delta).by_kind == {"adapter": sum(t.numel() for t in delta.trained().values())}
    delta.save(tmp_path / "a")
    fresh = make_tiny()
    assert load(tmp_path / "a", fresh).method == method
    assert torch.equal(logits(fresh, batch), adapted)
    with delta.disabled():
        assert torch.equal(logits(tiny, batch), base)
        assert [key for key in tiny.state_dict() if not key.startswith("hyperadapters.")] == keys
    assert torch.equal(logits(tiny, batch), adapted)
    delta.detach()
    assert torch.equal(logits(tiny, batch), base)
    assert list(tiny.state_dict()) == keys
    assert not hasattr(tiny, "peft_config")


def test_it_is_switched_with_ours_and_copied(tiny, batch):
    ours = attach(tiny, METHODS["houlsby"], name="ours")
    one = logits(tiny, batch)
    theirs = attach(tiny, method_named("peft:lora"), name="theirs")
    train_a_little(theirs, batch)
    two = logits(tiny, batch)
    ours.use()
    assert torch.equal(logits(tiny, batch), one)
    theirs.use()
    assert torch.equal(logits(tiny, batch), two)
    attach(tiny, METHODS["full"], name="whole").detach()
    theirs.use()
    assert torch.equal(logits(tiny, batch), two)
    twin = copy.deepcopy(tiny)
    train_a_little(theirs, batch)
    assert torch.equal(logits(twin, batch), two)
    assert not torch.equal(logits(tiny, batch), two)


@WRAPPING
def test_it_is_counted_without_weights(name, changes):
    method = method_named(f"peft:{name}", changes)
    found = count_parameters(method, backbone="embedded")
    assert found.total == 3_505_632
    if name == "lora":
        assert found.trained == 12 * 2 * 2 * 4 * 144


def test_an_experiment_holds_only_what_was_changed():
    method = method_named("peft:lora", {"r": "16", "target_modules": '["v", "q"]'})
    stored = json.loads(json.dumps(method_to_json(method)))
    assert stored == {"type": "Peft", "kind": "lora", "config": {"r": 16, "target_modules": ["v", "q"]}}
    assert method_from_json(stored) == method
    assert label_of(method) == "peft:lora (r = 16, target_modules = ['v', 'q'])"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("peft:lorra", {}, "no method 'peft:lorra' that wraps modules is in peft. Did you mean lora"),
        ("peft:prompt_tuning", {}, "no method 'peft:prompt_tuning' that wraps modules"),
        ("peft:lora", {"rank": "4"}, "method.rank: LoraConfig has no such field"),
        ("peft:lora", {"r": "many"}, "method.r='many'"),
        ("peft:lora", {"r": "0"}, "peft refuses this backbone"),
        ("peft:lora", {"target_modules": "nothing"}, "peft refuses this backbone: Target modules"),
        ("peft:adalora", {}, "peft:adalora: AdaLoRA does not work when `total_step` is None"),
        ("peft:adalora", {"total_step": "10"}, "wants a call of its own after every update"),
        ("peft:lora", {"init_lora_weights": "pissa"}, "writes the backbone's own weights, or wants data for its start"),
        ("peft:poly", {}, "computes in a forward pass of its own around the whole backbone"),
        ("peft:trainable_tokens", {}, "say which tokens' embeddings train"),
        ("peft:lora", {"alora_invocation_tokens": [5]}, "would leave LoRA out here. Leave it out"),
        ("peft:lora", {"eva_config": {}}, "eva_config cannot be saved with the adapter"),
        ("peft:lora", {"init_lora_weights": "olora"}, "Use one of True, False, gaussian, orthogonal"),
    ],
)
@pytest.mark.filterwarnings("ignore:aLoRA is", "ignore:.eva_config. specified")
def test_what_peft_cannot_do_is_said_before_anything_changes(name, changes, message, tiny, batch):
    base, keys = logits(tiny, batch), list(tiny.state_dict())
    with pytest.raises(InputError, match=message):
        attach(tiny, method_named(name, changes))
    assert list(tiny.state_dict()) == keys
    assert torch.equal(logits(tiny, batch), base)


@pytest.mark.parametrize(("name", "changes"), [("lora", {"lora_dropout": 0.5}), ("pvera", {})])
def test_dropout_and_what_is_drawn_at_random_follow_the_backbone_in_use_and_at_rest(name, changes, tmp_path):
    backbone, batch = FAMILIES["llama"].make(), FAMILIES["llama"].batch()
    delta = disturb(attach(backbone, method_named(f"peft:{name}", changes)))
    expected = logits(backbone, batch)
    assert torch.equal(logits(backbone, batch), expected)
    delta.save(tmp_path)
    assert torch.equal(logits(load(tmp_path, FAMILIES["llama"].make()).backbone, batch), expected)
    for training in (True, False):
        delta.rest()
        backbone.train(training)
        delta.use()
        assert torch.equal(logits(backbone, batch), logits(backbone, batch)) is not training
    assert torch.equal(logits(backbone, batch), expected)


@pytest.mark.parametrize("name", ["lora", "vera", "randlora"])
def test_fixed_tensors_of_peft_are_converted_at_rest_too(name):
    backbone, batch = FAMILIES["llama"].make(), FAMILIES["llama"].batch()
    delta = disturb(attach(backbone, method_named(f"peft:{name}")))
    expected = logits(backbone, batch)
    delta.rest()
    backbone.double()
    delta.use()
    torch.testing.assert_close(logits(backbone, batch).float(), expected, rtol=1e-4, atol=1e-5)


def test_all_linear_layers_are_those_of_the_backbone_and_not_of_its_head(tmp_path):
    backbone, _ = load_backbone(str(tiny_encoder(tmp_path / "tiny", "modernbert")))
    delta = attach(backbone, method_named("peft:lora", {"target_modules": "all-linear"}), outputs=3)
    linear = [path for path, module in backbone.named_modules() if isinstance(module, torch.nn.Linear)]
    changed = {path.removesuffix(".base_layer") for path in linear if path.endswith(".base_layer")}
    trained = [name.partition(".lora_")[0] for name in delta.trained() if ".lora_" in name]
    assert changed == {name.removeprefix("peft.model.") for name in trained}
    others = [path for path in linear if ".lora_" not in path and not path.endswith(".base_layer")]
    assert {path.partition(".")[0] for path in others} == {"head", "classifier"}
    delta.save(tmp_path / "saved")
    assert load(tmp_path / "saved", load_backbone(str(tmp_path / "tiny"))[0]).trained().keys() == delta.trained().keys()


def test_where_peft_knows_no_modules_the_error_names_those_there_are(tmp_path):
    backbone, _ = load_backbone(str(tiny_encoder(tmp_path, "modernbert")))
    with pytest.raises(InputError, match=r"no modules to change in modernbert.*=all-linear, or .*: Wqkv, Wo, Wi"):
        attach(backbone, "peft:lora", outputs=2)


def test_without_peft_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft.mapping", None)
    with pytest.raises(InputError, match=r"need the package peft.*pip install 'hyperadapters\[peft\]'"):
        method_named("peft:lora")


def test_a_saved_configuration_of_absurd_sizes_takes_no_memory(tiny, tmp_path):
    attach(tiny, method_named("peft:lora")).save(tmp_path)
    config = read_json(tmp_path / CONFIG)
    config["method"]["config"]["r"] = 10**9
    write_json(tmp_path / CONFIG, config)
    with pytest.raises(InputError, match=r"does not fit:\n.* shape \[8, 48\], expected \[1000000000, 48\]"):
        load(tmp_path, make_tiny())


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_the_backbones_own_biases_do_not_train_in_place(bias):
    backbone = FAMILIES["bert"].make()
    before = [tensor.requires_grad for tensor in backbone.parameters()]
    with pytest.raises(InputError, match=r"trains the backbone's own tensors\. Leave `bias` at none"):
        attach(backbone, method_named("peft:lora", {"bias": bias}), outputs=2)
    assert [tensor.requires_grad for tensor in backbone.parameters()] == before


def test_a_head_that_peft_would_train_is_the_deltas_already():
    with pytest.raises(InputError, match=r"it wraps the head \(classifier\), of which the Delta has its own"):
        attach(FAMILIES["bert"].make(), method_named("peft:lora", {"modules_to_save": ["classifier"]}), outputs=2)
