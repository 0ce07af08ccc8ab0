"""Intrinsic-SAID against the explicit projection, and against what its published code got wrong."""

from dataclasses import replace

import pytest
import torch
from families import FAMILIES
from torch.func import functional_call

from conftest import make_tiny
from hyperadapters import METHODS, InputError, attach, load
from hyperadapters.backbones.weights import own_parameters, tensor_users
from hyperadapters.layers.fastfood import fastfood_multiply, projection_key
from hyperadapters.methods import said
from hyperadapters.methods.registry import count_parameters
from hyperadapters.methods.said import IntrinsicSAID

SMALL = IntrinsicSAID(intrinsic_dim=200, seed=3)


def with_random_vector(backbone, method=SMALL):
    delta = attach(backbone, method)
    vector = delta.trained()["subspace.vector"]
    with torch.no_grad():
        vector += 0.3 * torch.randn(vector.shape, generator=torch.Generator().manual_seed(4))
    return delta, vector


def moved_by_hand(backbone, vector, seed):
    """Every tensor plus its own scale times a dense projection of θ; each projection column by column."""
    tensors = own_parameters(backbone)
    theta, scales = vector[0, : -len(tensors)], vector[0, -len(tensors) :]
    units = torch.eye(len(theta), dtype=torch.float64)
    moved = {}
    for index, (name, base) in enumerate(tensors.items()):
        zero = torch.zeros(base.numel(), dtype=torch.float64)
        matrix = torch.stack([fastfood_multiply(zero, unit, projection_key(seed, index)) for unit in units], 1)
        moved[name] = base + (scales[index] * (matrix.to(base.dtype) @ theta)).view(base.shape)
    return moved


def compute(backbone, tensors, batch):
    return functional_call(backbone, tensors, kwargs=batch, tie_weights=True)


@pytest.mark.slow
def test_logits_and_gradients_are_those_of_the_explicit_projection(tiny, batch):
    delta, vector = with_random_vector(tiny)
    tiny.double()
    found = tiny(**batch)
    found.loss.backward()
    with delta.disabled() as backbone:
        leaf = vector.detach().clone().requires_grad_(True)
        expected = compute(backbone, moved_by_hand(backbone, leaf, SMALL.seed), batch)
        expected.loss.backward()
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(vector.grad, leaf.grad)
    assert (leaf.grad != 0).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_in_every_family_every_tensor_moves(name):
    backbone, batch = FAMILIES[name].make(), FAMILIES[name].batch()
    method = IntrinsicSAID(intrinsic_dim=len(own_parameters(backbone)) + 40)
    delta, vector = with_random_vector(backbone, method)
    with torch.no_grad():
        found = backbone(**batch).logits
        theta, scales = vector[0, :40], vector[0, 40:]
        with delta.disabled():
            before = backbone(**batch).logits
            for index, tensor in enumerate(own_parameters(backbone).values()):
                tensor.copy_(fastfood_multiply(tensor, scales[index] * theta, projection_key(method.seed, index)))
            expected = backbone(**batch).logits
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_first_the_model_is_the_base_model_bit_for_bit(dtype, tiny, batch):
    tiny.to(dtype)
    with torch.no_grad():
        before = tiny(**batch).logits
        delta = attach(tiny, METHODS["intrinsic-said"])
        assert torch.equal(tiny(**batch).logits, before)
    theta = delta.trained()["subspace.vector"][0, : -delta.structure.tensors]
    scales = delta.trained()["subspace.vector"][0, -delta.structure.tensors :]
    assert (theta == 0).all()
    assert (scales == 1).all()


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_embedding_moves_once_and_stays_tied(tied, batch):
    backbone = make_tiny()
    if not tied:
        backbone.lm_head.weight = torch.nn.Parameter(backbone.lm_head.weight.clone())
    delta, _ = with_random_vector(backbone)
    users = next(users for users in tensor_users(backbone) if (backbone.lm_head, "weight") in users)
    assert len(users) == (4 if tied else 1)
    seen = {}
    for module in (backbone.encoder.embed_tokens, backbone.decoder.embed_tokens, backbone.lm_head):
        module.register_forward_hook(lambda module, args, output: seen.update({module: module.weight}), prepend=True)
    backbone(**batch)
    head, *embeddings = (
        seen[m] for m in (backbone.lm_head, backbone.encoder.embed_tokens, backbone.decoder.embed_tokens)
    )
    assert embeddings[0] is embeddings[1]
    assert (embeddings[0] is head) == torch.equal(embeddings[0], head) == tied
    assert not torch.equal(head, backbone.lm_head.weight)
    assert count_parameters(delta).by_kind == {"adapter": 200}


def test_a_saved_adapter_is_a_seed_and_its_numbers_and_loads_whatever_the_random_state(tiny, batch, tmp_path):
    delta, _ = with_random_vector(tiny, METHODS["intrinsic-said"])
    expected = tiny(**batch).logits
    folder = delta.save(tmp_path / "adapter")
    assert (folder / "adapter_model.safetensors").stat().st_size < 100_000
    assert {name: tuple(tensor.shape) for name, tensor in delta.tensors().items()} == {"subspace.vector": (1, 20_000)}
    fresh = make_tiny()
    torch.manual_seed(99)
    torch.rand(7)
    load(folder, fresh)
    assert torch.equal(fresh(**batch).logits, expected)


def saved_bytes(backbone, batch):
    """Bytes that autograd keeps between the passes, the backbone's and the Delta's own tensors apart."""
    own = {tensor.untyped_storage().data_ptr() for tensor in backbone.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = tensor  # alive, so that no other gets its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backbone(**batch).loss.backward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_between_the_passes_lie_the_moved_tensors_and_nothing_of_the_projections(batch):
    full, backbone = make_tiny(), make_tiny()
    attach(full, METHODS["full"])
    delta = attach(backbone, SMALL)
    moved = 4 * sum(tensor.numel() for tensor in own_parameters(backbone).values())
    steps = 4 * SMALL.intrinsic_dim * (delta.structure.tensors + 2)
    assert saved_bytes(backbone, batch) <= saved_bytes(full, batch) + moved + steps


def test_a_gradient_is_projected_before_the_layer_below_has_its_own(tiny, batch):
    delta = attach(tiny, SMALL)
    order = []
    index = {user: number for number, users in enumerate(tensor_users(tiny)) for user in users}
    top = index[tiny.decoder.block[1].layer[2].DenseReluDense.wo, "weight"]

    def watch(layer, inputs, output):
        output[0].register_hook(lambda gradient: order.append(layer))
        moved = delta._generation.current.made["subspace"]
        if layer == "decoder 1":
            moved[top].grad_fn.register_hook(lambda *_: order.append("projected"))

    for number in (0, 1):
        block = tiny.decoder.block[number]
        block.register_forward_hook(lambda m, i, o, number=number: watch(f"decoder {number}", i, o))
    tiny(**batch).loss.backward()
    assert order == ["decoder 1", "projected", "decoder 0"]


def test_while_decoding_no_tensor_is_made_at_every_token(tiny, batch, monkeypatch):
    calls = []
    monkeypatch.setattr(
        said, "fastfood_multiply", lambda base, step, key: calls.append(key) or fastfood_multiply(base, step, key)
    )
    delta = attach(tiny, SMALL)
    tiny.generate(input_ids=batch["input_ids"], max_new_tokens=5, min_new_tokens=5, do_sample=False)
    assert len(set(calls)) == delta.structure.tensors
    assert len(calls) == delta.structure.tensors + 1, "both stacks use the embeddings"


def test_the_projections_do_not_depend_on_the_global_random_state(batch):
    found = []
    for seed in (0, 1):
        backbone = make_tiny()
        torch.manual_seed(seed)
        with_random_vector(backbone)
        found.append(backbone(**batch).logits)
    assert torch.equal(*found)


@pytest.mark.parametrize("changed", [replace(SMALL, seed=4), replace(SMALL, intrinsic_dim=201)])
def test_every_field_changes_behaviour(changed, batch):
    found = []
    for method in (SMALL, changed):
        backbone = make_tiny()
        delta = attach(backbone, method)
        with torch.no_grad():
            delta.trained()["subspace.vector"] += 0.1
        found.append((count_parameters(delta).by_kind, backbone(**batch).logits))
    assert found[0][0] != found[1][0] or not torch.equal(found[0][1], found[1][1])
    assert not torch.allclose(found[0][1], found[1][1])


def test_a_vector_that_is_all_scales_is_refused(tiny):
    tensors = len(own_parameters(tiny))
    with pytest.raises(InputError, match=f"the backbone has {tensors} tensors.*Use {tensors + 1} or more"):
        attach(tiny, IntrinsicSAID(intrinsic_dim=tensors))
    assert count_parameters(attach(tiny, IntrinsicSAID(intrinsic_dim=tensors + 1))).by_kind == {"adapter": tensors + 1}
