"""Backbones whose layers lie on disk, backbones without weights, and adapters held in bfloat16."""

import pytest
import torch
from families import FAMILIES

from hyperadapters import METHODS, InputError, Pool, attach, load, load_backbone, method_named
from hyperadapters.backbones.checkpointing import _enable_checkpointing
from hyperadapters.backbones.fingerprints import fingerprint
from hyperadapters.backbones.offloading import device_of, value_at
from hyperadapters.methods.registry import count_parameters

SMALL = {
    "houlsby": {"bottleneck": 8},
    "compacter": {"bottleneck": 8},
    "bitfit": {},
    "norms": {},
    "prompt-t": {"prompt_length": 3},
    "hyperformer++": {"bottleneck": 8},
}
IDS = torch.randint(3, 90, (2, 9), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Llama on disk, and the embedded tokenizer."""
    path = tmp_path_factory.mktemp("llama")
    tokenizer = load_backbone()[1]
    FAMILIES["llama"].make(vocab_size=len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def on_disk(folder, tmp_path, embeddings="cpu"):
    """The same with all layers on disk between passes."""
    modules = {"model.embed_tokens": embeddings, "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    spread = {**modules, "model.layers.0": "disk", "model.layers.1": "disk"}
    backbone, _ = load_backbone(folder, device_map=spread, offload_folder=str(tmp_path / "offloaded"))
    assert backbone.model.layers[0].mlp.up_proj.weight.is_meta
    return backbone


def losses(backbone, delta, steps=3):
    """Training losses, and the gradients of the last step."""
    optimizer = torch.optim.AdamW(delta.trained().values(), lr=1e-2)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = backbone(IDS, labels=IDS, use_cache=False).loss
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return torch.tensor(found), {name: tensor.grad for name, tensor in delta.trained().items()}


@pytest.mark.parametrize("method", SMALL)
def test_layers_on_disk_train_generate_and_are_saved_as_layers_in_memory(method, folder, tmp_path):
    results = []
    for backbone in (load_backbone(folder)[0], on_disk(folder, tmp_path)):
        torch.manual_seed(0)
        delta = attach(backbone, method_named(method, SMALL[method]))
        assert {tensor.device.type for tensor in delta.trained().values()} == {"cpu"}
        found = losses(backbone, delta)
        tokens = backbone.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=4, do_sample=False)
        delta.save(tmp_path / f"{len(results)}")
        with delta.disabled(), torch.no_grad():
            base = backbone(IDS).logits
        results.append((*found, tokens, base, delta.fingerprint()))
    inside, outside = results
    for one, other in zip(inside[:-1], outside[:-1], strict=True):
        torch.testing.assert_close(other, one)
    assert outside[-1] == inside[-1]
    assert load(tmp_path / "1", load_backbone(folder)[0]).method == method_named(method, SMALL[method])
    assert load(tmp_path / "0", on_disk(folder, tmp_path)).in_use


def test_layers_on_disk_are_brought_in_again_by_checkpointing(folder, tmp_path):
    found = []
    for on in (False, True):
        backbone = on_disk(folder, tmp_path)
        torch.manual_seed(0)
        delta = attach(backbone, method_named("compacter", SMALL["compacter"]))
        backbone.train()
        if on:
            _enable_checkpointing(backbone)
        found.append(losses(backbone, delta, steps=1))
    torch.testing.assert_close(found[1], found[0])


def test_rows_of_two_tasks_share_layers_on_disk(folder, tmp_path):
    backbone = on_disk(folder, tmp_path)
    delta = attach(backbone, method_named("houlsby", SMALL["houlsby"]), tasks=("one", "two"))
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.1 * torch.randn(tensor.shape))
        with delta.rows(["one", "two"]):
            together = backbone(IDS).logits
        with delta.rows("two"):
            torch.testing.assert_close(together[1], backbone(IDS).logits[1])


def test_where_the_first_layer_lies_on_disk_a_pass_begins_where_it_is_brought_to(folder, tmp_path):
    backbone = on_disk(folder, tmp_path, embeddings="disk")
    assert device_of(backbone) == torch.device("cpu")
    assert torch.equal(
        value_at(backbone, "model.embed_tokens.weight"), load_backbone(folder)[0].model.embed_tokens.weight
    )


def test_a_pool_serves_a_backbone_whose_first_layer_lies_on_disk(folder, tmp_path):
    method = method_named("compacter", SMALL["compacter"])
    for name in ("a", "b"):
        attach(load_backbone(folder)[0], method).save(tmp_path / name)
    backbone = on_disk(folder, tmp_path, embeddings="disk")
    pool = Pool(backbone, {name: tmp_path / name for name in ("a", "b")}, resident=2)
    with torch.no_grad(), pool.rows(["a", "b"]):
        logits = backbone(IDS[:1].expand(2, -1)).logits
    assert logits.isfinite().all()


@pytest.mark.parametrize("method", ["full", "intrinsic-said"])
def test_methods_that_move_every_tensor_refuse_layers_on_disk(method, folder, tmp_path):
    with pytest.raises(InputError, match="moves every tensor of the backbone, but 18 are offloaded"):
        attach(on_disk(folder, tmp_path), METHODS[method])


def test_a_backbone_without_weights_is_counted_and_has_no_fingerprint():
    with torch.device("meta"):
        backbone = FAMILIES["llama"].make()
    delta = attach(backbone, method_named("houlsby", SMALL["houlsby"]))
    assert {tensor.device.type for tensor in delta.trained().values()} == {"meta"}
    assert (
        count_parameters(delta).by_kind
        == count_parameters(attach(FAMILIES["llama"].make(), method_named("houlsby", SMALL["houlsby"]))).by_kind
    )
    assert fingerprint(backbone).weights == ""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_adapter_has_the_type_that_is_asked_for_whatever_the_backbones(precision, folder, tmp_path):
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    backbone, _ = load_backbone(folder, precision="bf16")
    torch.manual_seed(0)
    delta = attach(backbone, method_named("compacter", SMALL["compacter"]), precision=precision)
    found, _ = losses(backbone, delta)
    assert {tensor.dtype for tensor in delta.trained().values()} == {dtype}
    reference, _ = load_backbone(folder)
    torch.manual_seed(0)
    expected, _ = losses(reference, attach(reference, method_named("compacter", SMALL["compacter"])))
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    delta.save(tmp_path)
    logits = backbone(IDS).logits
    fresh, _ = load_backbone(folder, precision="bf16")
    loaded = load(tmp_path, fresh)
    assert (
        count_parameters(loaded).bytes
        == count_parameters(delta).bytes
        == dtype.itemsize * count_parameters(delta).trained
    )
    assert torch.equal(fresh(IDS).logits, logits)
