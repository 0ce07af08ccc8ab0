"""Checkpoints of Compacter's published code: a state dict with its names gives the logits of the paper's formula."""

import pytest
import torch
import torch.nn.functional as F
from families import FAMILIES

from hyperadapters import Adapter, BitFit, Compacter, InputError, LowRankAdapter, PHMAdapter, PromptTuning
from hyperadapters.storage import load_compacter_checkpoint

D, K, N, R = 32, 8, 4, 2
LAYERS = {"encoder": (0, 1), "decoder": (0, 2)}
"""The numbers of the sub-layers after which adapters stand: self-attention, feed-forward."""
KINDS = {
    "compacter": Compacter(n=N, rank=R, bottleneck=K),
    "compacter, own slow weights": Compacter(n=N, rank=R, bottleneck=K, shared_slow=False),
    "compacter, factorized": Compacter(n=N, rank=R, bottleneck=K, factorized_slow=True),
    "phm": PHMAdapter(n=N, bottleneck=K),
    "low rank": LowRankAdapter(rank=1, bottleneck=K),
    "houlsby": Adapter(bottleneck=K),
}


def sampler(kind, inner, outer, draw, shared):
    """The tensors of one projection as the code names them, and its matrix (in, out) by the paper's formula."""
    if kind == "houlsby":
        t = {"weight": draw(outer, inner), "bias": draw(outer)}
        return t, t["weight"].T, t["bias"]
    if kind == "low rank":
        t = {"W_left": draw(inner, 1), "W_right": draw(1, outer), "b": draw(outer)}
        return t, t["W_left"] @ t["W_right"], t["b"]
    t = {"b": draw(outer)}
    slow = shared or {"phm_rule": draw(N, N, N)}
    t |= slow
    a = slow["phm_rule"] if "phm_rule" in slow else slow["phm_rule_left"] @ slow["phm_rule_right"]
    if kind == "phm":
        t["W"] = fast = draw(N, inner // N, outer // N)
    else:
        t |= {"W_left": draw(N, inner // N, R), "W_right": draw(N, R, outer // N)}
        fast = t["W_left"] @ t["W_right"]
    return t, sum(torch.kron(a[i], fast[i]) for i in range(N)), t["b"]


def checkpoint(kind, folder, *, positions=(0, 1), first=0, norms=False, post=False, name="t5"):
    """Write a checkpoint, and return the logits that the paper's formula gives with its tensors."""
    family = FAMILIES[name]
    model, batch = family.make(), family.batch()
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(shape, generator=generator) * 0.3

    shared = {}
    if kind == "compacter":
        shared = {"phm_rule": draw(N, N, N)}
    if kind == "compacter, factorized":
        shared = {"phm_rule_left": draw(N, N, 1), "phm_rule_right": draw(N, 1, N)}
    adapters = dict(shared)
    for stack, numbers in LAYERS.items():
        for layer in range(first, 2):
            for position in positions:
                path = f"{stack}.block.{layer}.layer.{numbers[position]}"
                down, d, d_bias = sampler(kind, D, K, draw, shared)
                up, u, u_bias = sampler(kind, K, D, draw, shared)
                prefix = f"{path}.adapter_controller"
                adapters |= {f"{prefix}.adapters.mrpc.down_sampler.{key}": value for key, value in down.items()}
                adapters |= {f"{prefix}.adapters.mrpc.up_sampler.{key}": value for key, value in up.items()}
                norm = (draw(D), draw(D)) if post else None
                if post:
                    adapters[f"{prefix}.post_layer_norm.weight"], adapters[f"{prefix}.post_layer_norm.bias"] = norm
                linear = next(m for n, m in model.get_submodule(path).named_modules() if n.endswith((".o", ".wo")))

                def add(module, args, y, d=d, u=u, d_bias=d_bias, u_bias=u_bias, norm=norm):
                    change = F.gelu(y @ d + d_bias, approximate="tanh") @ u + u_bias
                    return y + (change if norm is None else F.layer_norm(change, (D,), *norm))

                linear.register_forward_hook(add)
    with torch.no_grad():
        if norms:
            for key, tensor in model.named_parameters():
                if "layer_norm" in key and "adapter" not in key:
                    tensor.add_(draw(*tensor.shape))
        logits = model(**batch).logits
    folder.mkdir()
    torch.save({**model.state_dict(), **adapters}, folder / "pytorch_model.bin")
    return logits


def reads(folder, name="t5", **options):
    backbone = FAMILIES[name].make()
    delta = load_compacter_checkpoint(folder, backbone, allow_bin=True, **options)
    with torch.no_grad():
        return delta, backbone(**FAMILIES[name].batch()).logits


def refuses(folder, *parts, **options):
    backbone = FAMILIES["t5"].make()
    keys = list(backbone.state_dict())
    with pytest.raises(InputError) as caught:
        load_compacter_checkpoint(folder, backbone, **{"allow_bin": True, **options})
    assert list(backbone.state_dict()) == keys
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_are_those_of_the_papers_formula(kind, norms, tmp_path):
    expected = checkpoint(kind, tmp_path / "a", norms=norms)
    delta, found = reads(tmp_path / "a")
    assert delta.method == KINDS[kind].changed({"norms": norms})
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_sites_norms_and_families_are_found_from_the_tensors(tmp_path):
    expected = checkpoint("compacter", tmp_path / "a", positions=(1,), first=1, post=True, name="t5-v1.1")
    delta, found = reads(tmp_path / "a", "t5-v1.1")
    assert (delta.method.positions, delta.method.first_layer, delta.method.post_norm) == (("feed_forward",), 1, True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_trained_output_layer_is_the_deltas_own(tmp_path):
    checkpoint("houlsby", tmp_path / "a")
    file = tmp_path / "a" / "pytorch_model.bin"
    tensors = torch.load(file, weights_only=True)
    changed = tensors["shared.weight"] + 0.1
    names = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    torch.save({**tensors, **dict.fromkeys(names, changed)}, file)
    delta, _ = reads(tmp_path / "a")
    assert delta.method.output_layer
    assert torch.equal(delta.parts["output_layer"].of_only_adapter()["shared.weight"], changed)


def test_the_activation_is_that_of_the_runs_settings(tmp_path):
    checkpoint("houlsby", tmp_path / "a")
    assert reads(tmp_path / "a", activation="relu")[0].method.activation == "relu"
    (tmp_path / "a" / "training_config.json").write_text('{"non_linearity": "swish"}')
    assert reads(tmp_path / "a")[0].method.activation == "silu"
    (tmp_path / "a" / "training_config.json").write_text('{"non_linearity": "mish"}')
    refuses(tmp_path / "a", "non_linearity='mish'")


def test_what_cannot_be_read_is_named_at_once(tmp_path):
    checkpoint("compacter", tmp_path / "a")
    file = tmp_path / "a" / "pytorch_model.bin"
    refuses(tmp_path / "a", "allow_bin=True (--allow-bin)", allow_bin=False)
    tensors = torch.load(file, weights_only=True)
    prefix = "encoder.block.0.layer.0.adapter_controller"
    missing = f"{prefix}.adapters.mrpc.down_sampler.b"
    other = {key: tensor for key, tensor in tensors.items() if key != missing}
    other |= {f"{prefix}.pre_layer_norm.weight": torch.ones(D), "prefix_shared": torch.zeros(3, D)}
    other["encoder.block.0.layer.0.SelfAttention.q.weight"] = torch.zeros(32, D)
    torch.save(other, file)
    refuses(tmp_path / "a", "pre_layer_norm.weight: has no counterpart", "prefix_shared: has no counterpart",
            "1 differ from this backbone: encoder.block.0.layer.0.SelfAttention.q.weight")  # fmt: skip
    again = {key.replace(".mrpc.", ".rte."): tensor for key, tensor in tensors.items() if ".mrpc." in key}
    torch.save({**tensors, **again}, file)
    refuses(tmp_path / "a", "adapters of mrpc, rte: name one of them with task=")
    assert reads(tmp_path / "a", task="rte")[0].method == KINDS["compacter"].changed({"norms": False})
    torch.save({key: tensor for key, tensor in tensors.items() if "adapter_controller" not in key}, file)
    refuses(tmp_path / "a", "it holds no adapters, no prompt and no biases")


def biases(model, draw):
    """A bias for every linear layer and every norm inside a layer, as the code gives them to a T5."""
    return {
        path: draw(len(module.weight))
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) or (path.endswith("layer_norm") and ".block." in path)
    }


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("name", ["t5", "t5-v1.1"])
def test_biases_are_added_to_the_outputs_of_linear_layers_and_norms(name, trained, tmp_path):
    model, generator = FAMILIES[name].make(), torch.Generator().manual_seed(5)
    state = model.state_dict()
    if trained:
        with torch.no_grad():
            model.lm_head.weight.add_(0.1)  # tied to the embeddings where the family ties them
        state = model.state_dict()
    added = biases(model, lambda *shape: torch.randn(shape, generator=generator) * 0.3)
    for path, bias in added.items():
        model.get_submodule(path).register_forward_hook(lambda module, args, y, bias=bias: y + bias)
    with torch.no_grad():
        expected = model(**FAMILIES[name].batch()).logits
    torch.save({**state, **{f"{path}.bias": bias for path, bias in added.items()}}, tmp_path / "pytorch_model.bin")
    delta, found = reads(tmp_path, name)
    assert delta.method == BitFit(output_layer=trained)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_prompt_stands_before_the_encoders_embeddings(tmp_path):
    model, batch = FAMILIES["t5"].make(), FAMILIES["t5"].batch()
    prompt = torch.randn(5, D, generator=torch.Generator().manual_seed(5))
    embedded = model.shared(batch["input_ids"])
    rows = len(embedded)
    mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
    inputs = {"inputs_embeds": torch.cat([prompt.expand(rows, -1, -1), embedded], 1),
              "attention_mask": torch.cat([mask.new_ones(rows, 5), mask], 1)}  # fmt: skip
    others = {key: value for key, value in batch.items() if key not in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = model(**inputs, **others).logits
    names = ("prefix_shared", "encoder.prefix_emb", "decoder.prefix_emb")
    tensors = {**model.state_dict(), **dict.fromkeys(names, prompt)}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    delta, found = reads(tmp_path)
    assert delta.method == PromptTuning(prompt_length=5)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.save({**tensors, "encoder.prefix_emb": prompt + 1}, tmp_path / "pytorch_model.bin")
    refuses(tmp_path, "prefix_shared: the stacks have another prompt")
    torch.save({**tensors, **dict.fromkeys(names, prompt[:, 1:])}, tmp_path / "pytorch_model.bin")
    refuses(tmp_path, f"prefix_shared: shape [5, {D - 1}], expected [prompt length, {D}]")
    torch.save({**tensors, "encoder.final_layer_norm.weight": torch.zeros(D)}, tmp_path / "pytorch_model.bin")
    refuses(tmp_path, "of the model itself, 1 differ from this backbone: encoder.final_layer_norm.weight")
    refuses(tmp_path, "it holds adapters of no task", task="rte")


def test_damaged_biases_are_named(tmp_path):
    model, file = FAMILIES["t5"].make(), tmp_path / "pytorch_model.bin"
    added = {f"{path}.bias": bias for path, bias in biases(model, torch.zeros).items()}
    tensors = {**model.state_dict(), **added}
    torch.save({key: tensor for key, tensor in tensors.items() if key != "lm_head.bias"}, file)
    refuses(tmp_path, "lm_head.bias: missing")
    torch.save({**tensors, "lm_head.bias": torch.zeros(3)}, file)
    refuses(tmp_path, "lm_head.bias: shape [3] in the checkpoint, expected [")


def test_another_backbone_is_refused(tmp_path):
    checkpoint("houlsby", tmp_path / "a")
    with pytest.raises(InputError, match="adapts T5; BertForSequenceClassification is none"):
        load_compacter_checkpoint(tmp_path / "a", FAMILIES["bert"].make(), allow_bin=True)
    with pytest.raises(InputError, match="no pytorch_model.bin"):
        load_compacter_checkpoint(tmp_path, FAMILIES["t5"].make())
