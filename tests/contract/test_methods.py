"""What every method must keep. Names no method: a new one is held to it by being there."""

import copy
import subprocess
import sys

import pytest
import torch
from contract_methods import METHODS
from safetensors.torch import load_file, save_file

from conftest import make_tiny
from hyperadapters import InputError, attach, load
from hyperadapters.backbones.checkpointing import _enable_checkpointing
from hyperadapters.delta.container import attached
from hyperadapters.methods.registry import count_parameters

every_method = pytest.mark.parametrize("name", METHODS)


def logits(backbone, batch):
    with torch.no_grad():
        return backbone(**batch).logits


def train_a_little(delta, batch, steps=3):
    """Real updates, large enough to see."""
    optimizer = torch.optim.AdamW(delta.trained().values(), lr=max(1e-2, delta.method.learning_rate))
    for _ in range(steps):
        delta.backbone(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@every_method
def test_attaching_changes_the_output_no_more_than_its_initialisation(name, tiny, batch):
    before = logits(tiny, batch)
    attach(tiny, METHODS[name])
    after = logits(tiny, batch)
    assert (after - before).norm() < before.norm()


@every_method
def test_only_the_delta_gets_gradients_and_all_of_it_does(name, tiny, batch):
    delta = attach(tiny, METHODS[name])
    tiny(**batch).loss.backward()
    trained = delta.trained()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in trained.values())
    others = {id(p) for p in tiny.parameters()} - {id(p) for p in trained.values()}
    assert not [p for p in tiny.parameters() if id(p) in others and p.grad is not None]


@every_method
def test_training_learns(name, tiny, batch):
    delta = attach(tiny, METHODS[name])
    before = tiny(**batch).loss.item()
    train_a_little(delta, batch, steps=20)
    assert tiny(**batch).loss.item() < 0.9 * before


@every_method
def test_the_backbones_keys_and_tensors_are_untouched_by_training(name, tiny, batch):
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    delta = attach(tiny, METHODS[name])
    train_a_little(delta, batch)
    with delta.disabled():
        state = tiny.state_dict().items()
        after = {key: value.clone() for key, value in state if not key.startswith("hyperadapters.")}
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)


@every_method
def test_detaching_restores_the_backbone_bit_for_bit(name, tiny, batch):
    before, keys = logits(tiny, batch), list(tiny.state_dict())
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in tiny.modules())
    delta = attach(tiny, METHODS[name])
    train_a_little(delta, batch)
    assert not torch.equal(logits(tiny, batch), before)
    assert delta.detach() is tiny
    assert torch.equal(logits(tiny, batch), before)
    assert list(tiny.state_dict()) == keys
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in tiny.modules()) == hooks


@every_method
def test_disabled_is_the_base_model_and_then_the_delta_again(name, tiny, batch):
    base = logits(tiny, batch)
    delta = attach(tiny, METHODS[name])
    train_a_little(delta, batch)
    adapted = logits(tiny, batch)
    with delta.disabled() as backbone:
        assert torch.equal(logits(backbone, batch), base)
    assert torch.equal(logits(tiny, batch), adapted)


@every_method
def test_a_base_loaded_from_disk_and_the_delta_give_the_same_logits(name, tiny, batch, tmp_path):
    delta = attach(tiny, METHODS[name], name="saved")
    train_a_little(delta, batch)
    expected = logits(tiny, batch)
    delta.save(tmp_path / "adapter")
    fresh = make_tiny()
    loaded = load(tmp_path / "adapter", fresh)
    assert loaded.method == METHODS[name]
    assert torch.equal(logits(fresh, batch), expected)
    size = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    assert count_parameters(delta).bytes <= size <= count_parameters(delta).bytes + 2000 + 200 * len(delta.tensors())


def test_saved_and_loaded_in_a_new_process_the_logits_of_every_method_are_bit_identical(tmp_path):
    """The other process has only the files. One test of all methods, so that one such process is enough."""
    generator = torch.Generator().manual_seed(3)
    batch = {name: torch.randint(3, 90, (2, 5), generator=generator) for name in ("input_ids", "labels")}
    base = make_tiny()
    base.save_pretrained(tmp_path / "base")
    save_file(batch, tmp_path / "batch.safetensors")
    expected = {}
    for number, name in enumerate(METHODS):
        backbone = make_tiny()
        delta = attach(backbone, METHODS[name])
        train_a_little(delta, batch)
        delta.save(tmp_path / str(number))
        expected[name] = logits(backbone, batch)
    script = """
import sys, torch, hyperadapters as ha
from pathlib import Path
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM
folder, count = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
batch = load_file(folder / "batch.safetensors")
found = {}
for number in range(count):
    backbone = AutoModelForSeq2SeqLM.from_pretrained(folder / "base").eval()
    backbone.requires_grad_(False)
    ha.load(folder / str(number), backbone)
    with torch.no_grad():
        found[str(number)] = backbone(**batch).logits
save_file(found, folder / "found.safetensors")
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path), str(len(METHODS))], check=True, capture_output=True)
    found = load_file(tmp_path / "found.safetensors")
    differ = [name for number, name in enumerate(METHODS) if not torch.equal(found[str(number)], expected[name])]
    assert differ == []


@every_method
def test_a_deep_copy_is_independent(name, tiny, batch):
    delta = attach(tiny, METHODS[name])
    train_a_little(delta, batch)
    before = logits(tiny, batch)
    twin = copy.deepcopy(tiny)
    (copied,) = attached(twin)
    assert copied.backbone is twin
    assert torch.equal(logits(twin, batch), before)
    train_a_little(copied, batch)
    assert torch.equal(logits(tiny, batch), before)
    assert not torch.equal(logits(twin, batch), before)
    twin_after = logits(twin, batch)
    delta.detach()
    assert torch.equal(logits(twin, batch), twin_after)


@every_method
def test_beams_score_their_text_as_a_forward_pass_does(name, tiny, batch):
    delta = attach(tiny, METHODS[name])
    train_a_little(delta, batch)
    source = {key: batch[key] for key in ("input_ids", "attention_mask")}
    out = tiny.generate(
        **source,
        num_beams=3,
        max_new_tokens=4,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        length_penalty=0.0,
    )
    chosen = out.sequences[:, 1:]
    scores = tiny(**source, decoder_input_ids=out.sequences[:, :-1]).logits.log_softmax(-1)
    found = scores.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
    ended = (chosen == 1).cumsum(-1) - (chosen == 1).int() > 0
    torch.testing.assert_close(found.masked_fill(ended, 0).sum(-1), out.sequences_scores, rtol=1e-4, atol=1e-4)


@every_method
def test_greedy_generation_with_a_cache_follows_the_delta(name, tiny, batch):
    delta = attach(tiny, METHODS[name])
    train_a_little(delta, batch)
    source = {key: batch[key] for key in ("input_ids", "attention_mask")}
    tokens = tiny.generate(**source, max_new_tokens=3, do_sample=False)
    for step in range(1, tokens.shape[1]):
        best = tiny(**source, decoder_input_ids=tokens[:, :step]).logits[:, -1].argmax(-1)
        going = ~(tokens[:, 1:step] == 1).any(-1)
        assert torch.equal(best[going], tokens[:, step][going])


@every_method
def test_gradient_checkpointing_gives_the_same_gradients(name, batch):
    gradients = []
    for checkpointing in (False, True):
        backbone = make_tiny().train()
        torch.manual_seed(5)
        delta = attach(backbone, METHODS[name])
        if checkpointing:
            _enable_checkpointing(backbone)
        backbone(**batch, use_cache=False).loss.backward()
        gradients.append({key: tensor.grad for key, tensor in delta.trained().items()})
    for key, grad in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], grad, rtol=1e-5, atol=1e-7 + 1e-6 * grad.abs().max().item())


@every_method
def test_two_forward_passes_before_one_backward_pass_add_up(name, tiny, batch):
    delta = attach(tiny, METHODS[name])
    tiny(**batch).loss.backward()
    once = {key: tensor.grad.clone() for key, tensor in delta.trained().items()}
    for tensor in delta.trained().values():
        tensor.grad = None
    (tiny(**batch).loss + tiny(**batch).loss).backward()
    for key, tensor in delta.trained().items():
        torch.testing.assert_close(tensor.grad, 2 * once[key], rtol=1e-4, atol=1e-6)


@every_method
def test_a_bfloat16_backbone_trains(name, tiny, batch):
    tiny.to(torch.bfloat16)
    delta = attach(tiny, METHODS[name])
    out = tiny(**batch)
    assert out.logits.dtype == torch.bfloat16
    out.loss.backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in delta.trained().values())


@every_method
def test_autocast_trains_and_does_not_leave_its_weights_behind(name, tiny, batch):
    delta = attach(tiny, METHODS[name])
    expected = logits(tiny, batch)
    with torch.autocast("cpu", torch.bfloat16):
        tiny(**batch).loss.backward()
        logits(tiny, batch)
    assert all(torch.isfinite(tensor.grad).all() for tensor in delta.trained().values())
    assert torch.equal(logits(tiny, batch), expected)


@every_method
def test_two_named_deltas_are_switched_whole(name, tiny, batch):
    base = logits(tiny, batch)
    first = attach(tiny, METHODS[name], name="train")  # also the name of a method of modules
    train_a_little(first, batch, steps=2)
    one = logits(tiny, batch)
    second = attach(tiny, METHODS[name], name="second")
    train_a_little(second, batch, steps=6)
    two = logits(tiny, batch)
    assert not torch.equal(one, two)
    first.use()
    assert torch.equal(logits(tiny, batch), one)
    assert second.use().in_use
    assert not first.in_use
    assert torch.equal(logits(tiny, batch), two)
    assert [delta.name for delta in attached(tiny)] == ["train", "second"]
    first.detach()
    assert torch.equal(logits(tiny, batch), two)
    second.detach()
    assert torch.equal(logits(tiny, batch), base)


@every_method
def test_saved_at_rest_it_is_what_it_is_in_use_and_loads(name, tiny, batch, tmp_path):
    delta = attach(tiny, METHODS[name], name="first")
    train_a_little(delta, batch, steps=2)
    expected = logits(tiny, batch)
    busy = attach(tiny, METHODS["full"], name="second")
    train_a_little(busy, batch, steps=2)
    delta.save(tmp_path)
    load(tmp_path, tiny, name="third")
    assert torch.equal(logits(tiny, batch), expected)
    load(tmp_path, make_tiny())


@every_method
def test_what_rests_does_not_freeze_what_is_in_use(name, tiny):
    first, second = attach(tiny, METHODS[name], name="first"), attach(tiny, METHODS[name], name="second")
    first.rest()
    first.detach()
    assert second.in_use
    assert all(tensor.requires_grad for tensor in second.trained().values())


@every_method
def test_a_name_is_taken_once(name, tiny):
    attach(tiny, METHODS[name], name="mrpc")
    before = list(tiny.state_dict())
    with pytest.raises(InputError, match="has a Delta 'mrpc' already"):
        attach(tiny, METHODS[name], name="mrpc")
    assert list(tiny.state_dict()) == before


@every_method
def test_moving_and_casting_the_backbone_moves_the_delta(name, tiny):
    delta = attach(tiny, METHODS[name])
    tiny.to(torch.float64)
    assert {tensor.dtype for tensor in delta.trained().values()} == {torch.float64}


@pytest.mark.slow  # tests/contract/test_mixed_rows.py compiles a method in `make check`
@every_method
def test_a_whole_graph_compiles_and_agrees(name, found_by):
    script = f"""
import json
from compiling import differences
print(json.dumps(differences([{name!r}], batch_rows=2, passes=[[], []])))
"""
    assert found_by(script)[name] < 1e-3
