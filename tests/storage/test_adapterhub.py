"""Folders of AdapterHub's library: what it calls its tensors, what is read of them, what cannot be mapped.

`benchmarks/adapterhub.py` compares with the library itself.
"""

import json

import pytest
import torch
import torch.nn.functional as F
from disturbed import disturb, logits
from families import FAMILIES
from safetensors.torch import load_file, save_file

from hyperadapters import Adapter, Compacter, InputError, LowRankAdapter, PHMAdapter, attach, load
from hyperadapters.delta.saving import CONFIG
from hyperadapters.storage import export_adapterhub, is_adapterhub

NAMES = ["bart", "bert", "deberta-v2", "distilbert", "electra", "gpt2", "llama", "mistral", "mt5", "roberta", "t5"]
OWN = {"norms": False, "bottleneck": 8}
METHODS = {
    "double_seq_bn": Adapter(**OWN, activation="silu"),
    "seq_bn": Adapter(**OWN, activation="relu", positions=("feed_forward",), placement="after_sum"),
    "par_bn": Adapter(**OWN, activation="relu", positions=("feed_forward",), placement="parallel", scaling=4.0),
    "compacter": Compacter(**OWN, activation="gelu", n=4),
    "compacter++": Compacter(**OWN, activation="gelu", positions=("feed_forward",), placement="after_sum", rank=2),
    "own slow": Compacter(**OWN, activation="gelu_new", shared_slow=False, factorized_slow=True),
    "fixed slow": Compacter(**OWN, train_slow=False, factorized_slow=True),
    "phm": PHMAdapter(**OWN, n=4),
    "norm": Adapter(**OWN, post_norm=True, first_layer=1, activation="identity"),
    "low rank": LowRankAdapter(**OWN, rank=3),
}


def written(name, method, folder, **options):
    """An adapter of a family as the library would have written it, and the logits that it gives."""
    family = FAMILIES[name]
    backbone = family.make()
    delta = disturb(attach(backbone, method, "own", **options), by=0.1)
    export_adapterhub(delta, folder)
    return folder, logits(backbone, family.batch())


def edit(path, **changes):
    found = json.loads(path.read_text())
    found["config"] |= changes
    path.write_text(json.dumps(found))


def refuses(folder, backbone, *parts, **options):
    """Loading fails with all of these in one message, and the backbone is as it was."""
    keys, random = list(backbone.state_dict()), torch.get_rng_state()
    with pytest.raises(InputError) as caught:
        load(folder, backbone, **options)
    assert list(backbone.state_dict()) == keys
    assert torch.equal(torch.get_rng_state(), random)
    for part in parts:
        assert part in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_with_the_same_logits(name, method, tmp_path):
    folder, expected = written(name, METHODS[method], tmp_path / "a")
    assert is_adapterhub(folder)
    backbone = FAMILIES[name].make()
    delta = load(folder, backbone)
    assert delta.name == "own"
    assert method == "low rank" or delta.method == METHODS[method]
    torch.testing.assert_close(logits(backbone, FAMILIES[name].batch()), expected, atol=1e-6, rtol=1e-6)


SHAPES = {
    ("bert", "seq_bn"): {
        "bert.encoder.layer.1.output.adapters.own.adapter_down.0.weight": [8, 32],
        "bert.encoder.layer.1.output.adapters.own.adapter_down.0.bias": [8],
        "bert.encoder.layer.1.output.adapters.own.adapter_up.weight": [32, 8],
        "bert.encoder.layer.1.output.adapters.own.adapter_up.bias": [32],
    },
    ("bert", "compacter"): {
        "bert.encoder.layer.0.attention.output.adapters.own.adapter_down.0.W_left": [4, 8, 1],
        "bert.encoder.layer.0.attention.output.adapters.own.adapter_down.0.W_right": [4, 1, 2],
        "bert.encoder.layer.0.attention.output.adapters.own.adapter_down.0.b": [8],
        "bert.encoder.layer.0.attention.output.adapters.own.adapter_up.W_left": [4, 2, 1],
        "bert.encoder.layer.0.attention.output.adapters.own.adapter_up.W_right": [4, 1, 8],
        "bert.encoder.layer.0.attention.output.adapters.own.adapter_up.b": [32],
        "bert.shared_parameters.own.phm_rule": [4, 4, 4],
    },
    ("t5", "compacter++"): {
        "encoder.block.1.layer.1.adapters.own.adapter_down.0.W_left": [4, 8, 2],
        "decoder.block.0.layer.2.adapters.own.adapter_up.b": [32],
        "shared_parameters.own.phm_rule": [4, 4, 4],
    },
    ("bart", "par_bn"): {
        "model.encoder.layers.0.output_adapters.adapters.own.adapter_down.0.weight": [8, 32],
        "model.decoder.layers.1.output_adapters.adapters.own.adapter_up.bias": [32],
    },
    ("bart", "double_seq_bn"): {"model.decoder.layers.1.attention_adapters.adapters.own.adapter_up.bias": [32]},
    ("bert", "norm"): {"bert.encoder.layer.1.output.adapters.own.adapter_norm_after.weight": [32]},
    ("bert", "phm"): {"bert.encoder.layer.1.output.adapters.own.adapter_up.W": [4, 2, 8]},
}
"""Names and shapes that adapters 1.3.0 writes, seen in its files."""


@pytest.mark.parametrize(("name", "method"), SHAPES)
def test_names_and_shapes_are_those_of_the_library(name, method, tmp_path):
    folder, _ = written(name, METHODS[method], tmp_path / "a")
    found = {key: [*tensor.shape] for key, tensor in load_file(folder / "adapter.safetensors").items()}
    assert SHAPES[name, method].items() <= found.items()


CONFIGS = {
    "double_seq_bn": {
        "mh_adapter": True,
        "output_adapter": True,
        "non_linearity": "swish",
        "original_ln_before": False,
    },
    "seq_bn": {"mh_adapter": False, "output_adapter": True, "non_linearity": "relu", "original_ln_before": True},
    "par_bn": {"is_parallel": True, "scaling": 4.0, "original_ln_before": False, "mh_adapter": False},
    "compacter": {"phm_layer": True, "phm_dim": 4, "phm_rank": 1, "shared_phm_rule": True, "non_linearity": "gelu"},
    "norm": {"ln_after": True, "adapter_residual_before_ln": False, "leave_out": [0, 2], "non_linearity": "linear"},
}


@pytest.mark.parametrize("method", CONFIGS)
def test_the_config_is_what_the_library_has_for_it(method, tmp_path):
    folder, _ = written("t5", METHODS[method], tmp_path / "a")
    whole = json.loads((folder / CONFIG).read_text())
    assert CONFIGS[method].items() <= whole["config"].items()
    assert 32 // whole["config"]["reduction_factor"] == 8
    about = {"model_type": "t5", "hidden_size": 32, "name": "own", "version": "adapters.1.3.0"}
    assert about.items() <= whole.items()


def test_a_pfeiffer_adapter_computes_what_the_library_documents(tmp_path):
    """It reads the norm of output and residual stream, and adds to the output (`original_ln_before`)."""
    folder, expected = written("bert", METHODS["seq_bn"], tmp_path / "a")
    backbone, batch = FAMILIES["bert"].make(), FAMILIES["bert"].batch()
    tensors = load_file(folder / "adapter.safetensors")
    head = load_file(folder / "model_head.safetensors")
    for number, layer in enumerate(backbone.bert.encoder.layer):
        t = {key.rpartition(".own.")[2]: tensor for key, tensor in tensors.items() if f"layer.{number}." in key}

        def forward(hidden, residual, own=layer.output, t=t):
            y = own.dense(hidden)
            x = own.LayerNorm(y + residual)
            inner = F.relu(F.linear(x, t["adapter_down.0.weight"], t["adapter_down.0.bias"]))
            return own.LayerNorm(F.linear(inner, t["adapter_up.weight"], t["adapter_up.bias"]) + y + residual)

        layer.output.forward = forward
    backbone.load_state_dict(head, strict=False)
    torch.testing.assert_close(logits(backbone, batch), expected, atol=1e-6, rtol=1e-6)


def test_a_head_of_another_size_comes_with_the_adapter_unless_it_is_left_out(tmp_path):
    folder, expected = written("roberta", METHODS["double_seq_bn"], tmp_path / "a", outputs=5)
    backbone = FAMILIES["roberta"].make()
    load(folder, backbone)
    found = logits(backbone, FAMILIES["roberta"].batch())
    assert found.shape == (2, 5)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert load(folder, FAMILIES["roberta"].make(), without_head=True).outputs == 2


def test_the_names_of_the_classes_go_both_ways(tmp_path):
    folder, _ = written("bert", METHODS["double_seq_bn"], tmp_path / "a", outputs=["bad", "fair", "good"])
    said = json.loads((folder / "head_config.json").read_text())
    assert said["label2id"] == {"bad": 0, "fair": 1, "good": 2}
    assert load(folder, FAMILIES["bert"].make()).backbone.config.id2label == {0: "bad", 1: "fair", 2: "good"}
    for others in ({"bad": 0, "good": 5}, {"bad": "x"}, [], {"": 0, "a": 1, "b": 2}):
        (folder / "head_config.json").write_text(json.dumps({**said, "label2id": others}))
        assert load(folder, FAMILIES["bert"].make()).about == {}


def flexible_head(folder, layers, **config):
    """Give a folder a head of the library's own kind."""
    sizes = {1: {"heads.own.1": (3, 32)}, 2: {"heads.own.1": (32, 32), "heads.own.4": (3, 32)}}[layers]
    tensors = {f"{name}.weight": torch.randn(shape) for name, shape in sizes.items()}
    tensors |= {f"{name}.bias": torch.randn(shape[0]) for name, shape in sizes.items()}
    save_file(tensors, folder / "model_head.safetensors")
    said = {"head_type": "classification", "layers": layers, "activation_function": "tanh", "use_pooler": False}
    (folder / "head_config.json").write_text(json.dumps({"config": {**said, **config}}))
    return tensors


def test_the_librarys_own_head_is_read_where_the_backbone_has_the_same(tmp_path):
    folder, _ = written("roberta", METHODS["double_seq_bn"], tmp_path / "a")
    tensors = flexible_head(folder, 2)
    delta = load(folder, FAMILIES["roberta"].make())
    assert delta.outputs == 3
    head = delta.parts["head"].of_only_adapter()
    assert torch.equal(head["classifier.dense.weight"], tensors["heads.own.1.weight"])
    assert torch.equal(head["classifier.out_proj.bias"], tensors["heads.own.4.bias"])
    folder, _ = written("bert", METHODS["double_seq_bn"], tmp_path / "b")
    flexible_head(folder, 2)
    bert = FAMILIES["bert"].make()
    refuses(folder, bert, "head of type 'classification' with layers=2", "without_head=True")
    flexible_head(folder, 1, use_pooler=True)
    assert load(folder, bert).outputs == 3


def test_an_output_layer_that_is_the_backbones_needs_no_choice_and_another_does(tmp_path):
    folder, _ = written("t5", METHODS["double_seq_bn"], tmp_path / "a")
    backbone = FAMILIES["t5"].make()
    (folder / "head_config.json").write_text(json.dumps({"config": None}))
    save_file({"lm_head.weight": backbone.lm_head.weight.clone()}, folder / "model_head.safetensors")
    load(folder, backbone, name="same")
    save_file({"lm_head.weight": backbone.lm_head.weight + 1}, folder / "model_head.safetensors")
    refuses(folder, backbone, "head lm_head.weight: differs from the backbone's", "--without-head")
    load(folder, backbone, without_head=True)


def test_everything_that_cannot_be_mapped_is_named_at_once(tmp_path):
    folder, _ = written("bert", METHODS["double_seq_bn"], tmp_path / "a")
    bert = FAMILIES["bert"].make()
    no = {"ln_before": True, "use_gating": True, "inv_adapter": "nice", "cross_adapter": True, "non_linearity": "mish"}
    no |= {"leave_out": [1], "reduction_factor": {"1": 4}, "scaling": "odd", "novel": 1, "original_ln_after": False}
    edit(folder / CONFIG, **no)
    (folder / "adapter_fusion_config.json").write_text("{}")
    refuses(folder, bert, *(f"config.{key}={value!r}" for key, value in no.items()), "a fusion of adapters")


def test_configs_of_other_methods_and_backbones_are_named(tmp_path):
    folder, _ = written("bert", METHODS["double_seq_bn"], tmp_path / "a")
    bert, electra = FAMILIES["bert"].make(), FAMILIES["electra"].make()
    refuses(folder, electra, "model_type: trained on 'bert', this backbone's is 'electra'")
    refuses(folder, FAMILIES["phi"].make(), "model_type 'phi'", "is known of bart, bert")
    edit(folder / CONFIG, phm_layer=True, factorized_phm_W=False, shared_W_phm=True, phm_bias=False)
    refuses(folder, bert, "factorized_phm_W=False", "shared_W_phm=True, phm_bias=False")
    (folder / CONFIG).write_text(json.dumps({"config": {"architecture": "lora"}, "model_type": "bert", "version": "1"}))
    refuses(folder, bert, "architecture='lora'", "config.mh_adapter: missing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leave_out": 5}, "config.leave_out=5: a list of layers' numbers is needed"),
        ({"phm_rank": 10**15}, "expected"),
        ({"reduction_factor": 1e-300}, "asks for impossible sizes"),
    ],
)
def test_damaged_sizes_are_refused_and_take_no_memory(changes, message, tmp_path):
    folder, _ = written("bert", METHODS["compacter"], tmp_path / "a")
    edit(folder / CONFIG, **changes)
    refuses(folder, FAMILIES["bert"].make(), message)


def test_tensors_that_are_missing_left_over_or_of_other_shapes_are_named(tmp_path):
    folder, _ = written("t5", METHODS["compacter"], tmp_path / "a")
    file, t5 = folder / "adapter.safetensors", FAMILIES["t5"].make()
    tensors = load_file(file)
    slow = tensors.pop("shared_parameters.own.phm_rule")  # adapters 1.3.0 leaves it out for T5
    key = "encoder.block.0.layer.0.adapters.own.adapter_up.b"
    save_file({**tensors, key: torch.zeros(5), "decoder.block.0.layer.1.adapters.own.adapter_up.b": slow}, file)
    refuses(folder, t5, "shared_parameters.own.phm_rule: missing", f"{key}: torch.float32 of shape [5], expected [32]",
            "decoder.block.0.layer.1.adapters.own.adapter_up.b: has no counterpart")  # fmt: skip


def test_prefixes_of_models_with_and_without_a_head_are_the_same(tmp_path):
    folder, expected = written("bert", METHODS["compacter"], tmp_path / "a")
    file = folder / "adapter.safetensors"
    for rename in (lambda key: key.removeprefix("bert."), lambda key: f"other.{key.removeprefix('bert.')}"):
        save_file({rename(key): tensor for key, tensor in load_file(file).items()}, file)
        backbone = FAMILIES["bert"].make()
        load(folder, backbone)
        torch.testing.assert_close(logits(backbone, FAMILIES["bert"].batch()), expected, atol=1e-6, rtol=1e-6)


def test_a_trained_scaling_is_multiplied_into_the_up_projection(tmp_path):
    folder, expected = written("bert", METHODS["par_bn"], tmp_path / "a")
    file = folder / "adapter.safetensors"
    modules = {key.partition(".adapter_")[0] for key in load_file(file)}
    for scaling, value in (("learned", torch.full((1,), 4.0)), ("channel", torch.full((32,), 4.0))):
        edit(folder / CONFIG, scaling=scaling)
        save_file({**load_file(file), **{f"{module}.scaling": value.clone() for module in modules}}, file)
        backbone = FAMILIES["bert"].make()
        assert load(folder, backbone).method.scaling == 1.0
        torch.testing.assert_close(logits(backbone, FAMILIES["bert"].batch()), expected, atol=1e-6, rtol=1e-6)


def test_torchs_own_format_is_read_on_request_only_and_holds_tensors_only(tmp_path):
    folder, expected = written("bert", METHODS["seq_bn"], tmp_path / "a")
    backbone, batch = FAMILIES["bert"].make(), FAMILIES["bert"].batch()
    for safe, other in (
        ("adapter.safetensors", "pytorch_adapter.bin"),
        ("model_head.safetensors", "pytorch_model_head.bin"),
    ):
        torch.save(load_file(folder / safe), folder / other)
        (folder / safe).unlink()
    refuses(folder, backbone, "pytorch_adapter.bin is in torch's own format", "allow_bin=True (--allow-bin)")
    load(folder, backbone, allow_bin=True)
    torch.testing.assert_close(logits(backbone, batch), expected, atol=1e-6, rtol=1e-6)
    backbone = FAMILIES["bert"].make()
    torch.save({"weights": torch.nn.Linear(1, 1)}, folder / "pytorch_adapter.bin")
    refuses(folder, backbone, "something else than tensors", allow_bin=True)
    torch.save({"big": torch.zeros(10**7)}, folder / "pytorch_adapter.bin")
    refuses(folder, backbone, "more than an adapter of this backbone can have", allow_bin=True)
    (folder / "pytorch_adapter.bin").write_bytes(b"nothing")
    refuses(folder, backbone, "pytorch_adapter.bin", allow_bin=True)
    (folder / "pytorch_adapter.bin").unlink()
    refuses(folder, backbone, "has neither adapter.safetensors nor pytorch_adapter.bin")


def test_names_of_activations_in_files_without_a_version_are_the_old_ones(tmp_path):
    folder, _ = written("bert", METHODS["compacter"], tmp_path / "a")
    whole = json.loads((folder / CONFIG).read_text())
    del whole["version"]
    (folder / CONFIG).write_text(json.dumps(whole))
    assert load(folder, FAMILIES["bert"].make()).method.activation == "gelu_new"


def test_what_has_no_counterpart_in_the_library_is_not_written(tmp_path):
    bert = FAMILIES["bert"].make()
    trained = disturb(attach(bert, Adapter(), name="norms"), by=0.1)
    with pytest.raises(InputError, match="layer norms were trained.*norms=False"):
        export_adapterhub(trained, tmp_path / "a")
    several = attach(bert, Adapter(norms=False), name="several", tasks=["a", "b"])
    with pytest.raises(InputError, match="several tasks"):
        export_adapterhub(several, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    untrained = attach(bert, Adapter(), name="fresh")
    export_adapterhub(untrained, tmp_path / "a")
