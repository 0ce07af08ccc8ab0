"""Adapters sit where the papers put them: T5's sub-layers written out by hand, with dropout on."""

import pytest
import torch

from conftest import make_tiny
from hyperadapters import METHODS, InputError, attach, method_named
from hyperadapters.backbones.structure import read_structure
from hyperadapters.methods.adapters import SiteMethod


def sublayers(backbone):
    """Every sub-layer with the kind of its position and the place of its adapter in the Delta, if it has one."""
    site = 0
    for stack in (backbone.encoder, backbone.decoder):
        for block in stack.block:
            for layer in block.layer:
                kind = type(layer).__name__.removeprefix("T5Layer")
                yield layer, kind, None if kind == "CrossAttention" else site
                site += kind != "CrossAttention"


def by_hand(layer, kind, weights, hidden, memory):
    """X + dropout(A(F(LN(x))) + F(LN(x))), with A = 0 where there is no adapter."""
    normed = layer.layer_norm(hidden)
    if kind == "FF":
        y = layer.DenseReluDense(normed)
    elif kind == "SelfAttention":
        y = layer.SelfAttention(normed)[0]
    else:
        y = layer.EncDecAttention(normed, key_value_states=memory)[0]
    if weights is not None:
        inner = torch.nn.functional.gelu(y @ weights.down + weights.down_bias, approximate="tanh")
        y = inner @ weights.up + weights.up_bias + y
    return hidden + layer.dropout(y)


def test_every_sublayer_of_t5_is_what_the_paper_writes_with_dropout_on():
    backbone = make_tiny(dropout_rate=0.3).train()
    delta = attach(backbone, METHODS["houlsby"])
    delta._generation.renew()
    weights = delta._generation.used("adapters", slice(None), -1)
    hidden, memory = torch.randn(2, 5, 48), torch.randn(2, 7, 48)
    for layer, kind, site in sublayers(backbone):
        arguments = {"key_value_states": memory} if kind == "CrossAttention" else {}
        torch.manual_seed(7)
        found = layer(hidden, **arguments)
        with delta.disabled():
            torch.manual_seed(7)
            expected = by_hand(layer, kind, None if site is None else weights[site], hidden, memory)
        delta._generation.renew()
        weights = delta._generation.used("adapters", slice(None), -1)
        torch.testing.assert_close(found if kind == "FF" else found[0], expected, rtol=0, atol=1e-6)


def test_the_sites_of_t5_are_self_attention_and_feed_forward_of_both_stacks(tiny):
    shape = read_structure(tiny)
    assert [(s.stack, s.layer, s.position) for s in shape.sites] == [
        (stack, layer, position)
        for stack in ("encoder", "decoder")
        for layer in (0, 1)
        for position in ("attention", "feed_forward")
    ]
    assert not any("EncDecAttention" in site.module for site in shape.sites)


def test_every_layer_norm_belongs_to_the_delta_cross_attention_and_final_ones_included(tiny):
    shape = read_structure(tiny)
    assert len(shape.norms) == 2 * 2 + 3 * 2 + 2
    assert {"encoder.final_layer_norm", "decoder.final_layer_norm", "decoder.block.0.layer.1.layer_norm"} <= {
        *shape.norms
    }


@pytest.mark.parametrize(
    ("name", "layers", "expected"),
    [
        ("houlsby", 6, 24),
        ("pfeiffer", 6, 12),
        ("compacter++", 6, 12),
        ("adapterdrop", 12, 2 * 2 * 7),
        ("adapterdrop", 6, 2 * 2 * 1),
        ("adapterdrop", 2, 2 * 2 * 1),
    ],
)
def test_each_method_takes_the_sites_of_its_paper(name, layers, expected):
    backbone = make_tiny(num_layers=layers)
    delta = attach(backbone, METHODS[name])
    assert len(delta.parts["adapters"].sites) == expected
    assert delta.parts["norms"].weight.shape == (1, 5 * layers + 2, 48)


def test_pfeiffer_follows_attention_and_compacter_plus_plus_the_feed_forward(tiny):
    for name, position in (("pfeiffer", "attention"), ("compacter++", "feed_forward")):
        delta = attach(tiny, METHODS[name], name=name.strip("+"))
        assert {site.position for site in delta.parts["adapters"].sites} == {position}


def test_the_shared_slow_weights_are_one_parameter_that_every_site_reaches(tiny, batch):
    delta = attach(tiny, METHODS["compacter"])
    slow = [name for name in delta.trained() if "slow" in name]
    assert slow == ["adapters.matrices.slow.weight"]
    delta._generation.renew()
    parameter = delta.trained()[slow[0]]
    assert parameter.shape == (1, 1, 4, 4, 4)
    for weights in delta._generation.used("adapters", slice(None), -1):
        for matrix in (weights.down, weights.up):
            (grad,) = torch.autograd.grad(matrix.sum(), parameter, retain_graph=True)
            assert grad.abs().sum() > 0


def test_compacter_starts_as_the_base_model_to_a_ten_millionth(tiny):
    delta = attach(tiny, METHODS["compacter"])
    delta._generation.renew()
    from hyperadapters.layers.bottleneck import bottleneck_adapter

    y = torch.randn(64, 48)
    for weights in delta._generation.used("adapters", slice(None), -1):
        moved = bottleneck_adapter(y, weights, "gelu_new") - y
        assert moved.norm() < 1e-6 * y.norm()


def test_norms_of_the_delta_are_what_the_backbone_uses(tiny, batch):
    delta = attach(tiny, METHODS["compacter++"])
    with torch.no_grad():
        delta.trained()["norms.weight"].zero_()
    assert tiny(**batch).logits.abs().max() == 0
    assert tiny.decoder.final_layer_norm.weight.abs().sum() > 0


def test_without_norms_the_backbones_own_are_used(tiny, batch):
    delta = attach(tiny, method_named("compacter++", {"norms": False}))
    assert list(delta.parts) == ["adapters"]


def test_a_trained_output_layer_is_used_by_embeddings_and_head(tiny, batch):
    before = tiny(**batch).logits
    delta = attach(tiny, method_named("compacter++", {"output_layer": True}))
    torch.testing.assert_close(tiny(**batch).logits, before, rtol=1e-4, atol=1e-4)
    assert set(delta.structure.output) == {"shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head"}
    with torch.no_grad():
        delta.trained()["output_layer.weight"].zero_()
    assert tiny(**batch).logits.abs().max() == 0


def operations(model, batch):
    """How many operations a step takes, views left out."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            view = any(r.alias_info is not None and not r.alias_info.is_write for r in function._schema.returns)
            self.found += not view
            return function(*args, **(kwargs or {}))

    with Count() as seen:
        model(**batch).loss.backward()
    return seen.found


@pytest.mark.parametrize("name", ["compacter", "hyperformer++", "norms"])
def test_a_backbone_in_bfloat16_costs_one_cast_a_tensor_and_not_one_a_site(name, batch):
    """The Delta's float32 is cast for all sites and norms at once; a second layer costs what it costs in float32."""
    added = {}
    for dtype in (torch.float32, torch.bfloat16):
        for layers in (1, 2):
            plain = make_tiny(num_layers=layers).to(dtype)
            for norm in read_structure(plain).norms:
                plain.get_submodule(norm).requires_grad_(True)
            without = operations(plain, batch)
            backbone = make_tiny(num_layers=layers).to(dtype)
            attach(backbone, METHODS[name])
            added[dtype, layers] = operations(backbone, batch) - without
    more = [added[dtype, 2] - added[dtype, 1] for dtype in (torch.float32, torch.bfloat16)]
    assert more[1] == more[0]


def test_the_slow_weights_are_read_once_a_projection_and_not_at_every_site(tiny, batch):
    """However many sites, one operation makes what all of them need of A to project down, and one to project up."""
    from torch.utils._python_dispatch import TorchDispatchMode

    delta = attach(tiny, METHODS["compacter"])
    place = delta.trained()["adapters.matrices.slow.weight"].untyped_storage().data_ptr()

    class Reads(TorchDispatchMode):
        found: list = []  # noqa: RUF012

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            read = any(isinstance(a, torch.Tensor) and a.untyped_storage().data_ptr() == place for a in args)
            if read and made.untyped_storage().data_ptr() != place:
                self.found.append(str(function))
            return made

    with Reads() as seen:
        tiny(**batch)
    assert len(delta.parts["adapters"].sites) > 2
    assert len(seen.found) == 2, seen.found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 5}, r"n must divide both widths. Use n from \[1, 2, 3, 4, 6, 8, 12, 24\]"),
        ({"n": 16}, r"Use n from"),
        ({"rank": 0}, "a rank is 1 or more"),
        ({"bottleneck": 0}, "bottleneck is a width"),
        ({"first_layer": -1}, "layers count from 0"),
        ({"positions": []}, "leaves no site"),
        ({"stacks": []}, "leaves no site"),
    ],
)
def test_fields_that_do_not_fit_the_backbone_are_refused_before_anything_changes(changes, message, tiny):
    keys = list(tiny.state_dict())
    with pytest.raises(InputError, match=message):
        attach(tiny, method_named("compacter", changes))
    assert list(tiny.state_dict()) == keys


OTHER = {"positions": ["feed_forward"], "first_layer": 0}
FIELDS = {
    "bottleneck": 12,
    "positions": ["attention"],
    "stacks": ["encoder"],
    "first_layer": 1,
    "activation": "relu",
    "norms": False,
    "output_layer": True,
    "rank": 2,
    "n": 2,
    "shared_slow": False,
    "train_slow": False,
    "factorized_slow": True,
    "init": "truncated",
    "post_norm": True,
    "placement": "parallel",
    "scaling": 2.0,
}


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if isinstance(method, SiteMethod)])
def test_every_field_changes_behaviour(name, tiny, batch):
    from dataclasses import fields

    def behaviour(method):
        torch.manual_seed(0)
        delta = attach(tiny, method)
        with torch.no_grad():
            for tensor in delta.trained().values():
                tensor.add_(0.1)
        shapes = {key: tuple(tensor.shape) for key, tensor in delta.trained().items()}
        found = shapes, tiny(**batch).logits.detach()
        delta.detach()
        return found

    shapes, output = behaviour(METHODS[name])
    for field in fields(METHODS[name]):
        value = FIELDS[field.name]
        if method_named(name, {field.name: value}) == METHODS[name] or name == "adapterdrop":
            value = OTHER.get(field.name, value)
        changed_shapes, changed = behaviour(method_named(name, {field.name: value}))
        assert changed_shapes != shapes or not torch.equal(changed, output), field.name


@pytest.mark.parametrize("family", ["t5 v1.1", "mt5"])
def test_the_other_members_of_the_t5_family_are_adapted_alike(family, batch):
    from transformers import MT5Config, MT5ForConditionalGeneration

    sizes = {"vocab_size": 96, "d_model": 48, "d_kv": 12, "num_heads": 4, "d_ff": 64, "num_layers": 2}
    if family == "mt5":
        backbone = MT5ForConditionalGeneration(MT5Config(**sizes, decoder_start_token_id=0)).eval()
    else:
        backbone = make_tiny(feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    before = backbone.requires_grad_(False)(**batch).logits
    delta = attach(backbone, METHODS["houlsby"])
    assert len(delta.parts["adapters"].sites) == 8
    assert delta.parts["norms"].weight.shape == (1, 12, 48)
    backbone(**batch).loss.backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in delta.trained().values())
    delta.detach()
    assert torch.equal(backbone(**batch).logits, before)


def test_a_delta_starts_from_the_backbone_and_not_from_what_another_delta_made_of_it(tiny):
    own = tiny.shared.weight.clone()
    first = attach(tiny, METHODS["full"], name="first")
    with torch.no_grad():
        for tensor in first.trained().values():
            tensor.zero_()
    second = attach(tiny, METHODS["full"], name="second")
    assert torch.equal(dict(second.trained())["backbone.shared.weight"], own)
    first.use()
    prompt = attach(tiny, METHODS["prompt-t"], name="prompt")
    assert torch.equal(prompt.trained()["prompt.vectors"][0], own[:100])
