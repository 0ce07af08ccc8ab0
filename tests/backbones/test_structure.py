"""Sites, norms and heads of every family, against names and counts written down by hand."""

import json

import pytest
import torch
import transformers as hf
from families import BERT, D_MODEL, DECODER, DROPOUT, ENCODER, FAMILIES, Family
from torch.overrides import TorchFunctionMode

from hyperadapters import METHODS, InputError, Layout, attach, count_parameters, load, method_named
from hyperadapters.backbones.kinds import kind_of
from hyperadapters.backbones.modules import positions_of
from hyperadapters.backbones.structure import read_structure

every_family = pytest.mark.parametrize("name", FAMILIES)
SMALL = {"bottleneck": 8}


def norm_of(output):
    return output.logits.float().pow(2).sum()


@every_family
def test_the_sites_are_where_the_sublayers_outputs_leave(name):
    family = FAMILIES[name]
    backbone = family.make()
    shape = read_structure(backbone)
    assert tuple(site.linear for site in shape.sites if site.layer == 0) == family.sites
    assert len(shape.sites) == len(family.sites) * family.layers
    assert [site.position for site in shape.sites] == ["attention", "feed_forward"] * (len(shape.sites) // 2)
    assert shape.d_model == D_MODEL
    kinds = {ENCODER: ("encoder",), DECODER: ("decoder",), "AutoModelForImageClassification": ("encoder",)}
    assert shape.stacks == kinds.get(family.loader, ("encoder", "decoder"))


@every_family
@pytest.mark.parametrize("method", ["houlsby", "compacter", "bitfit"])
def test_attached_a_family_computes_and_trains_as_it_should(name, method):
    family = FAMILIES[name]
    backbone, batch = family.make(), family.batch()
    with torch.no_grad():
        before = backbone(**batch).logits
    delta = attach(backbone, method_named(method, SMALL if method != "bitfit" else {}))
    output = backbone(**batch)
    deviation = {"houlsby": 1e-2, "compacter": 1e-5, "bitfit": 0.0}[method]
    assert (output.logits - before).norm() <= deviation * before.norm()
    norm_of(output).backward()
    trained = delta.trained()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in trained.values())
    mine = {id(tensor) for tensor in trained.values()}
    assert not [path for path, p in backbone.named_parameters() if id(p) not in mine and p.grad is not None]
    delta.detach()
    with torch.no_grad():
        assert torch.equal(backbone(**batch).logits, before)


@every_family
def test_the_counts_equal_the_closed_form(name):
    family = FAMILIES[name]
    sites = len(family.sites) * family.layers
    count = count_parameters(attach(family.make(), method_named("houlsby", SMALL))).by_kind
    expected = {"adapter": sites * (2 * D_MODEL * 8 + 8 + D_MODEL), "norm": family.norms, "head": family.head}
    assert count == {kind: number for kind, number in expected.items() if number}


def test_houlsby_on_bert_base_counts_as_the_paper(tmp_path):
    """By hand: adapters 2,379,264, norms 38,400, head 1,538."""
    hf.BertConfig().save_pretrained(tmp_path)
    found = count_parameters(method_named("houlsby", {"bottleneck": 64}), backbone=str(tmp_path))
    assert found.by_kind == {"adapter": 2_379_264, "norm": 38_400, "head": 1_538}
    assert found.total == 109_482_240
    assert count_parameters(METHODS["full"], backbone=str(tmp_path)).trained == 109_482_240 + 1_538


def test_in_bert_the_adapter_stands_between_dropout_and_residual():
    """LN(A(y) + y + x), y the sub-layer's dense output after its dropout (Houlsby et al., published code)."""
    from hyperadapters.layers.bottleneck import bottleneck_adapter

    backbone = FAMILIES["bert"].make(hidden_dropout_prob=0.3).train()
    delta = attach(backbone, method_named("houlsby", {**SMALL, "norms": False}))
    delta._generation.renew()
    weights = delta._generation.used("adapters", slice(None), -1)
    for layer, block in enumerate(backbone.bert.encoder.layer):
        for index, (sublayer, width) in enumerate(((block.attention.output, 32), (block.output, 48))):
            inner, residual = torch.randn(2, 5, width), torch.randn(2, 5, 32)
            torch.manual_seed(7)
            found = sublayer(inner, residual)
            torch.manual_seed(7)
            y = torch.nn.functional.linear(inner, sublayer.dense.weight, sublayer.dense.bias)
            y = torch.nn.functional.dropout(y, 0.3)
            adapted = bottleneck_adapter(y, weights[2 * layer + index], "gelu_new")
            torch.testing.assert_close(found, sublayer.LayerNorm(adapted + residual))


class _Followed(TorchFunctionMode):
    """Records what is called after each site, up to the residual: "dropout" or nothing."""

    def __init__(self):
        super().__init__()
        self.after, self.waiting = [], False

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if self.waiting and getattr(function, "__name__", "") in ("dropout", "add"):
            self.after.append(function.__name__)
            self.waiting = False
        return function(*args, **(kwargs or {}))

    def site(self, module, args, output):
        self.waiting = True


BEHIND_DROPOUT = {
    **dict.fromkeys(("bert", "roberta", "deberta-v2", "electra", "albert", "distilbert"), "encoder"),
    "mpnet": (hf.MPNetConfig, {**BERT, "max_position_embeddings": 64, "pad_token_id": 1}, ENCODER),
    "funnel": (hf.FunnelConfig, {"vocab_size": 96, "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48,
                                 "block_sizes": [2]}, ENCODER),
    "xlm-roberta": (hf.XLMRobertaConfig, {**BERT, "max_position_embeddings": 64}, ENCODER),
    "openai-gpt": (hf.OpenAIGPTConfig, {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4,
                                        "n_positions": 64}, DECODER),
}  # fmt: skip
"""Those whose sub-layers end with their norm, by hand from the models' sources."""


@pytest.mark.parametrize("name", [*FAMILIES, *(name for name in BEHIND_DROPOUT if name not in FAMILIES)])
def test_in_sublayers_that_end_with_their_norm_the_adapter_is_behind_the_dropout(name):
    """In all others it is before it, if there is one."""
    if name in FAMILIES:
        config, sizes, loader = FAMILIES[name].config, FAMILIES[name].sizes, FAMILIES[name].loader
    else:
        config, sizes, loader = BEHIND_DROPOUT[name]
    drops = {key: 0.5 for key in DROPOUT if key in config(**sizes).to_dict() and "attention" not in key}
    backbone = Family(config, sizes, loader, (), 0).make(**drops).train()
    sites, found = read_structure(backbone).sites, _Followed()
    for site in sites:
        backbone.get_submodule(site.module).register_forward_hook(found.site)
    with found:
        backbone(**Family(config, sizes, loader, (), 0).batch())
    assert len(found.after) >= len(sites)
    none_follows = name in BEHIND_DROPOUT or name == "modernbert" or not drops
    assert {*found.after} == ({"add"} if none_follows else {"dropout"})
    if name not in BEHIND_DROPOUT:
        assert all(site.module == site.linear for site in sites)


def test_an_adapter_in_alberts_shared_layer_serves_every_pass_through_it():
    family = FAMILIES["albert"]
    calls = []
    for layers in (2, 4):
        backbone = family.make(num_hidden_layers=layers)
        delta = attach(backbone, method_named("houlsby", SMALL))
        assert len(delta.parts["adapters"].sites) == 2
        site = backbone.get_submodule(family.sites[0])
        site.register_forward_hook(lambda *_, layers=layers: calls.append(layers))
        backbone(**family.batch())
    assert (calls.count(2), calls.count(4)) == (2, 4)


def test_norms_train_with_their_biases_and_in_every_width():
    backbone = FAMILIES["electra"].make()
    delta = attach(backbone, method_named("houlsby", SMALL))
    shapes = {key: tuple(tensor.shape) for key, tensor in delta.trained().items() if key.startswith("norms")}
    assert shapes == {"norms.weight": (1, 2, 16), "norms.weight_32": (1, 8, 32)}
    batch = FAMILIES["electra"].batch()
    own = backbone.electra.embeddings.LayerNorm.bias
    with torch.no_grad():
        before = backbone(**batch).logits
        delta.trained()["norms.weight"][0, 1] += 1.0  # the bias of the embeddings' norm
        assert not torch.equal(backbone(**batch).logits, before)
    assert own.abs().sum() == 0


def test_kinds_are_told_from_the_configuration():
    kinds = {name: kind_of(family.config(**family.sizes)) for name, family in FAMILIES.items()}
    by_loader = {ENCODER: "encoder", DECODER: "decoder", "AutoModelForImageClassification": "encoder"}
    assert kinds == {name: by_loader.get(f.loader, "encoder-decoder") for name, f in FAMILIES.items()}


def test_deltas_with_heads_of_different_sizes_share_a_backbone(tmp_path):
    family = FAMILIES["roberta"]
    backbone, batch = family.make(), family.batch()
    first = attach(backbone, method_named("compacter", SMALL), name="nli", outputs=3)
    three = backbone(**batch).logits.detach()
    second = attach(backbone, method_named("houlsby", SMALL), name="score", outputs=1)
    assert (three.shape, backbone(**batch).logits.shape) == ((2, 3), (2, 1))
    assert (first.outputs, second.outputs) == (3, 1)
    first.use()
    assert torch.equal(backbone(**batch).logits, three)
    first.save(tmp_path)
    other = family.make()
    assert load(tmp_path, other).outputs == 3
    assert torch.equal(other(**batch).logits, three)


def test_a_fresh_head_is_drawn_and_one_without_a_number_is_the_backbones():
    backbone = FAMILIES["bert"].make()
    kept = attach(backbone, method_named("houlsby", SMALL), name="kept")
    assert torch.equal(kept.trained()["head.weight"][0, 0], backbone.classifier.weight)
    drawn = attach(backbone, method_named("houlsby", SMALL), name="drawn", outputs=2)
    assert not torch.equal(drawn.trained()["head.weight"], kept.trained()["head.weight"])
    assert drawn.trained()["head.weight_2"].abs().sum() == 0


def test_full_fine_tuning_trains_the_head_as_the_deltas_own():
    backbone, batch = FAMILIES["bert"].make(), FAMILIES["bert"].batch()
    before = backbone(**batch).logits
    delta = attach(backbone, METHODS["full"], outputs=3)
    assert count_parameters(delta).by_kind["head"] == 3 * 32 + 3
    assert backbone(**batch).logits.shape == (2, 3)
    delta.detach()
    assert torch.equal(backbone(**batch).logits, before)


def test_outputs_for_a_backbone_without_a_head_are_refused(tiny):
    with pytest.raises(InputError, match="outputs=2: T5ForConditionalGeneration has no classification head"):
        attach(tiny, METHODS["houlsby"], outputs=2)


def test_an_output_layer_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="no language-model output layer"):
        attach(FAMILIES["bert"].make(), method_named("houlsby", {"output_layer": True}))


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.loader == DECODER])
def test_a_decoder_generates_as_its_forward_pass_says_and_makes_its_weights_once(name):
    family = FAMILIES[name]
    backbone = family.make()
    delta = attach(backbone, method_named("houlsby", SMALL))
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(2)))
    ids = torch.randint(3, 90, (2, 5), generator=torch.Generator().manual_seed(3))
    made, make = [], delta.parts["adapters"].generate
    delta.parts["adapters"].generate = lambda rows: made.append(1) or make(rows)
    mask = torch.ones_like(ids)
    tokens = backbone.generate(ids, attention_mask=mask, max_new_tokens=4, do_sample=False, eos_token_id=None)
    assert len(made) == 1
    for step in range(5, tokens.shape[1]):
        assert torch.equal(backbone(tokens[:, :step]).logits[:, -1].argmax(-1), tokens[:, step])


def mamba():
    config = hf.MambaConfig(vocab_size=96, hidden_size=32, num_hidden_layers=2, bos_token_id=1, eos_token_id=1)
    torch.manual_seed(0)
    return hf.MambaForCausalLM(config).eval()


def test_an_unknown_structure_is_shown_with_its_candidates_and_the_line_to_write():
    backbone = mamba()
    keys = list(backbone.state_dict())
    with pytest.raises(InputError) as caught:
        attach(backbone, METHODS["houlsby"])
    text = str(caught.value)
    assert "MambaForCausalLM (model_type 'mamba')" in text
    assert "backbone.layers.#.mixer.in_proj  Linear" in text
    assert "Candidates, as wide as the model: backbone.layers.#.mixer.out_proj" in text
    line = 'attach(backbone, method, layout=ha.Layout(feed_forward=("backbone.layers.#.mixer.out_proj",)))'
    assert line in text
    assert list(backbone.state_dict()) == keys


def test_sites_named_by_hand_are_used_saved_and_loaded(tmp_path):
    backbone = mamba()
    layout = Layout(feed_forward=("backbone.layers.#.mixer.out_proj",))
    delta = attach(backbone, method_named("compacter++", SMALL), layout=layout)
    assert [(s.stack, s.layer, s.position) for s in delta.parts["adapters"].sites] == [
        ("decoder", layer, "feed_forward") for layer in (0, 1)
    ]
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.1)
    ids = torch.randint(3, 90, (2, 5))
    expected = backbone(ids).logits
    delta.save(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["backbone"]["layout"]["attention"] == []
    fresh = mamba()
    assert load(tmp_path, fresh).structure.layout == layout
    assert torch.equal(fresh(ids).logits, expected)


def test_a_pattern_that_matches_nothing_is_refused(tiny):
    with pytest.raises(InputError, match="no module matches 'encoder.layers.#.out'"):
        attach(tiny, METHODS["houlsby"], layout=Layout(attention=("encoder.layers.#.out",)))


class TorchLayers(hf.PreTrainedModel):
    """Layers of torch.nn, whose attention reads the weight of its output projection and never calls it."""

    config_class = hf.BertConfig

    def __init__(self, config):
        super().__init__(config)
        self.layers = torch.nn.ModuleList(torch.nn.TransformerEncoderLayer(32, 4, 48) for _ in range(2))
        self.post_init()


def test_a_projection_that_is_never_called_is_no_site():
    with pytest.raises(InputError, match=r"(?s)no layer that holds both.*Candidates.*: layers.#.linear2\."):
        attach(TorchLayers(hf.BertConfig(hidden_size=32, num_attention_heads=4)), METHODS["houlsby"])


def test_a_module_that_is_no_model_of_transformers_is_refused():
    with pytest.raises(
        InputError, match="TransformerEncoderLayer has no config, so it is no model of the transformers"
    ):
        attach(torch.nn.TransformerEncoderLayer(32, 4, 48), METHODS["houlsby"])


def test_two_towers_are_not_guessed_between():
    text = {**BERT_SIZES, "vocab_size": 96, "max_position_embeddings": 20}
    vision = {**BERT_SIZES, "image_size": 16, "patch_size": 4}
    backbone = hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))
    with pytest.raises(InputError, match="several towers of layers"):
        attach(backbone, METHODS["houlsby"])


BERT_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_stack_begins_with_its_entry(family):
    backbone, begun = FAMILIES[family].make(), set()
    entries = read_structure(backbone).entries.values()
    for entry in entries:
        backbone.get_submodule(entry).register_forward_pre_hook(lambda *args, entry=entry: begun.add(entry))
    backbone(**FAMILIES[family].batch())
    assert begun == set(entries)


@pytest.mark.parametrize(("name", "positions"), {"bert": 512, "roberta": 63, "bart": 64, "opt": 64, "t5": None}.items())
def test_as_many_tokens_as_there_are_positions_pass_and_no_more(name, positions):
    backbone = FAMILIES[name].make()
    assert positions_of(backbone) == positions
    for length in (positions, positions + 1) if positions else ():
        ids = torch.full((1, length), 7)
        batch = {"input_ids": ids} | ({"decoder_input_ids": ids[:, :2]} if name == "bart" else {})
        if length == positions:
            backbone(**batch)
        else:
            with pytest.raises((IndexError, RuntimeError)):
                backbone(**batch)


def small_decoder(config, **sizes):
    """A decoder of a family whose layers hold more than attention and feed-forward."""
    common = {
        "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0,
    }  # fmt: skip
    return hf.AutoModelForCausalLM.from_config(config(**{**common, **sizes})).eval()


def test_what_else_is_as_wide_as_the_model_in_a_layer_is_no_feed_forward():
    backbone = small_decoder(
        hf.Gemma3nTextConfig, vocab_size_per_layer_input=96, hidden_size_per_layer_input=8, laurel_rank=4,
        num_kv_shared_layers=0, activation_sparsity_pattern=[0.0, 0.0],
        layer_types=["full_attention", "sliding_attention"],
    )  # fmt: skip
    found = [site.module for site in attach(backbone, METHODS["houlsby"]).structure.sites]
    assert found[:2] == ["model.layers.0.self_attn.o_proj", "model.layers.0.mlp.down_proj"]


def test_a_mixture_of_experts_that_tells_its_routing_is_adapted_at_its_sum():
    backbone = small_decoder(hf.GptOssConfig, num_local_experts=4, num_experts_per_tok=2)
    ids = torch.randint(3, 90, (2, 6))
    base = backbone(input_ids=ids).logits
    delta = attach(backbone, method_named("houlsby", {"bottleneck": 8}))
    assert delta.structure.sites[1].module == "model.layers.0.mlp"
    torch.testing.assert_close(backbone(input_ids=ids).logits, base, rtol=1e-3, atol=1e-3)
    torch.nn.init.ones_(delta.trained()["adapters.up_bias"])
    assert not torch.allclose(backbone(input_ids=ids).logits, base, atol=1e-2)


def test_experts_beside_a_feed_forward_are_not_guessed_between():
    backbone = small_decoder(
        hf.Gemma4TextConfig, global_head_dim=8, vocab_size_per_layer_input=96, hidden_size_per_layer_input=0,
        num_kv_shared_layers=0, enable_moe_block=True, num_experts=4, top_k_experts=2, moe_intermediate_size=24,
    )  # fmt: skip
    with pytest.raises(InputError, match="the adapter sites are not clear"):
        attach(backbone, METHODS["houlsby"])
