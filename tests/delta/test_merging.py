"""Adapters without a non-linearity are written into the linear layers before them, and everything else says why not."""

import pytest
import torch
from disturbed import disturb, logits
from families import FAMILIES

from hyperadapters import METHODS, Adapter, Compacter, InputError, LowRankAdapter, PHMAdapter, attach, attached

LINEAR = sorted(name for name in FAMILIES if name != "mixtral")


def refuses(delta, match, **options):
    """Merging fails with this message, and nothing has changed."""
    before = {name: tensor.clone() for name, tensor in delta.backbone.state_dict().items()}
    with pytest.raises(InputError, match=match) as caught:
        delta.merge(**options)
    after = delta.backbone.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    return str(caught.value)


@pytest.mark.parametrize("name", LINEAR)
def test_the_merged_backbone_computes_what_it_computed_with_the_adapters(name):
    family = FAMILIES[name]
    backbone, batch = family.make(), family.batch()
    base = logits(backbone, batch)
    delta = disturb(attach(backbone, Adapter(bottleneck=8, activation="identity")))
    expected = logits(backbone, batch)
    assert (expected - base).abs().max() > 1e-3
    assert delta.merge(add_biases=True) is backbone
    assert attached(backbone) == []
    torch.testing.assert_close(logits(backbone, batch), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "method",
    [
        LowRankAdapter(activation="identity", bottleneck=8),
        PHMAdapter(activation="identity", bottleneck=8, n=4),
        Compacter(activation="identity", bottleneck=8, positions=("feed_forward",)),
        Adapter(activation="identity", bottleneck=64, norms=False),
    ],
)
def test_every_parametrisation_can_be_merged(method):
    backbone, batch = FAMILIES["bert"].make(), FAMILIES["bert"].batch()
    delta = disturb(attach(backbone, method))
    expected = logits(backbone, batch)
    delta.merge()
    torch.testing.assert_close(logits(backbone, batch), expected, atol=1e-5, rtol=0)


def test_a_merged_model_is_saved_and_loaded_by_transformers_alone(tmp_path):
    backbone, batch = FAMILIES["roberta"].make(), FAMILIES["roberta"].batch()
    delta = disturb(attach(backbone, Adapter(bottleneck=8, activation="identity"), outputs=5))
    expected = logits(backbone, batch)
    delta.merge()
    backbone.save_pretrained(tmp_path / "merged")
    read = type(backbone).from_pretrained(tmp_path / "merged").eval()
    assert read.config.num_labels == expected.shape[-1] == 5
    torch.testing.assert_close(logits(read, batch), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("names", [["neg", "pos"], ["neg", "pos", "neutral"]])
def test_the_merged_backbone_states_the_classes_of_the_head_that_it_got(names, tmp_path):
    backbone = FAMILIES["bert"].make()
    backbone.config.id2label, backbone.config.label2id = {0: "pos", 1: "neg"}, {"pos": 0, "neg": 1}
    merged = attach(backbone, Adapter(bottleneck=8, activation="identity"), outputs=names).merge()
    merged.save_pretrained(tmp_path)
    for config in (merged.config, type(merged).from_pretrained(tmp_path).config):
        assert config.id2label == dict(enumerate(names))
        assert config.label2id == {name: number for number, name in enumerate(names)}


def test_one_task_of_a_hypernetwork_is_merged_after_it_was_baked():
    backbone, batch = FAMILIES["t5"].make(), FAMILIES["t5"].batch()
    method = METHODS["hyperformer++"].changed({"activation": "identity", "conditional_norm": False, "bottleneck": 8})
    several = disturb(attach(backbone, method, name="several", tasks=["a", "b"]))
    assert "Delta.bake" in refuses(several, "several tasks")
    baked = several.bake("a")
    several.detach()
    expected = logits(backbone, batch)
    baked.merge(add_biases=True)
    torch.testing.assert_close(logits(backbone, batch), expected, atol=1e-5, rtol=0)


def test_what_is_not_linear_is_refused_with_every_reason():
    bert = FAMILIES["bert"].make()
    said = refuses(attach(bert, Adapter(post_norm=True), name="houlsby"), "does more than linear layers")
    assert "activation='gelu_new' is not linear" in said
    assert "convert --to lora --fit DATA" in said
    assert "a layer norm follows the up-projections" in said
    refuses(attach(bert, METHODS["bitfit"], name="bitfit"), "other parts than adapters.*biases")
    refuses(attach(bert, METHODS["norms"], name="norms"), "no adapters behind linear layers")


def test_a_mixture_of_experts_is_no_linear_layer():
    mixtral = FAMILIES["mixtral"].make()
    refuses(attach(mixtral, Adapter(activation="identity")), r"no linear layer with a plain weight: .*mlp")


def test_layers_without_a_bias_get_one_only_on_request(tiny):
    delta = disturb(attach(tiny, Adapter(activation="identity")))
    assert "--to lora" in refuses(delta, "have no bias")
    other = attach(tiny, Adapter(), name="other")
    refuses(delta, "other Deltas are attached.*other", add_biases=True)
    other.detach()
    delta.use()
    keys = set(tiny.state_dict()) - {f"hyperadapters.{key}" for key in tiny.hyperadapters.state_dict()}
    delta.merge(add_biases=True)
    assert {key.rpartition(".")[2] for key in set(tiny.state_dict()) - keys} == {"bias"}


def test_without_biases_nothing_is_added(tiny, batch):
    delta = disturb(attach(tiny, Adapter(activation="identity")))
    with torch.no_grad():
        for name, tensor in delta.trained().items():
            if "bias" in name:
                tensor.zero_()
    expected = logits(tiny, batch)
    delta.merge()
    torch.testing.assert_close(logits(tiny, batch), expected, atol=1e-5, rtol=0)
