"""A backbone's dropout drawn the cheap way, and back."""

import copy

import pytest
import torch
from families import DROPOUT, FAMILIES
from training_runs import EXACT, fitted, same
from transformers import AutoModelForSeq2SeqLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from conftest import make_tiny
from hyperadapters import METHODS, Training, attach, load_backbone
from hyperadapters.backbones.checkpointing import _enable_checkpointing
from hyperadapters.backbones.optimized_dropout import _attention, set_fast_dropout
from hyperadapters.layers.dropout_masks import FastDropout
from hyperadapters.training.trainer import Trainer


def fast_tiny(**changes):
    backbone = make_tiny(**{"dropout_rate": 0.2, **changes})
    set_fast_dropout(backbone, True)
    return backbone


def has_fast_dropout(backbone):
    return any(isinstance(module, FastDropout) for module in backbone.modules())


def seeded_logits(backbone, batch):
    torch.manual_seed(7)
    return backbone(**batch).logits.detach()


def test_backbones_are_loaded_with_it():
    assert has_fast_dropout(load_backbone()[0])


def test_switching_it_off_gives_pytorchs_dropout_bit_for_bit(batch):
    expected = seeded_logits(make_tiny(dropout_rate=0.2).train(), batch)
    backbone = fast_tiny().train()
    assert not torch.equal(seeded_logits(backbone, batch), expected)
    set_fast_dropout(backbone, False)
    assert not has_fast_dropout(backbone)
    assert torch.equal(seeded_logits(backbone, batch), expected)


def test_evaluation_is_what_it_was(batch):
    assert torch.equal(seeded_logits(fast_tiny().eval(), batch), seeded_logits(make_tiny(dropout_rate=0.2), batch))


def test_the_seed_decides(batch):
    backbone = fast_tiny().train()
    first = seeded_logits(backbone, batch)
    assert not torch.equal(backbone(**batch).logits, first)
    assert torch.equal(seeded_logits(backbone, batch), first)
    assert torch.equal(seeded_logits(copy.deepcopy(backbone), batch), first)


def test_keys_and_saved_files_do_not_know_of_it(batch, tmp_path):
    plain, fast = make_tiny(dropout_rate=0.2), fast_tiny()
    assert list(fast.state_dict()) == list(plain.state_dict())
    for name, backbone in (("plain", plain), ("fast", fast)):
        backbone.save_pretrained(tmp_path / name)
    config = "config.json"
    assert (tmp_path / "fast" / config).read_text() == (tmp_path / "plain" / config).read_text()
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "fast").requires_grad_(False)
    assert torch.equal(seeded_logits(loaded, batch), seeded_logits(plain, batch))


@pytest.mark.parametrize("mask", ["none", "boolean", "floating"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_attention_agrees_with_the_fused_kernel_where_nothing_is_dropped(mask, causal, bias):
    query, key, value = (torch.randn(2, 3, 5, 4) for _ in range(3))
    kept = torch.rand(2, 1, 5, 5) > 0.3
    kept[..., 0] = True
    masks = {"none": None, "boolean": kept, "floating": torch.where(kept, 0.0, -1e4)}
    position_bias = torch.randn(1, 3, 5, 5) if bias else None
    given = (torch.nn.Module(), query, key, value, masks[mask])
    options = {"scaling": 0.7, "is_causal": causal, "position_bias": position_bias}
    found, _ = _attention(*given, dropout=1e-9, **options)  # rounds to never
    expected, _ = sdpa_attention_forward(*given, dropout=0.0, **options)
    torch.testing.assert_close(found, expected)


def test_attention_drops_probabilities_and_keeps_their_mean():
    query, key, value = (torch.randn(1, 2, 4, 8) for _ in range(3))
    rows = [tensor.expand(20_000, -1, -1, -1) for tensor in (query, key, value)]
    found, _ = _attention(torch.nn.Module(), *rows, None, dropout=0.3, is_causal=False)
    expected, _ = _attention(torch.nn.Module(), query, key, value, None, is_causal=False)
    assert found.std(0).min() > 0.01
    torch.testing.assert_close(found.mean(0), expected[0], atol=0.04, rtol=0)


def test_gradient_checkpointing_draws_the_same_masks_again(batch):
    gradients = []
    for checkpointing in (False, True):
        backbone = fast_tiny().train()
        delta = attach(backbone, METHODS["houlsby"])
        if checkpointing:
            _enable_checkpointing(backbone)
        torch.manual_seed(5)
        backbone(**batch, use_cache=False).loss.backward()
        gradients.append({key: tensor.grad for key, tensor in delta.trained().items()})
        torch.manual_seed(0)
    for key, grad in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], grad, rtol=1e-5, atol=1e-7)


def test_training_uses_it_unless_told_otherwise_and_afterwards_all_is_as_before(monkeypatch):
    step, seen = Trainer.step, []

    def watched(self, rows):
        seen.append(has_fast_dropout(self.delta.backbone))
        return step(self, rows)

    monkeypatch.setattr(Trainer, "step", watched)
    for fast in (True, False):
        seen.clear()
        delta, _ = fitted(Training(lr=1e-3, epochs=1, fast_dropout=fast))
        assert {*seen} == {fast}
        assert not has_fast_dropout(delta.backbone)


def test_a_run_with_dropout_stopped_and_resumed_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("training_runs.make_tiny", lambda: make_tiny(dropout_rate=0.2))
    settings = {"lr": 3e-3, "epochs": 2, "batch_size": 5}
    whole, _ = fitted(Training(**settings))
    without, _ = fitted(Training(**settings, fast_dropout=False))
    assert any(not torch.equal(t, without.trained()[k]) for k, t in whole.trained().items())
    step = Trainer.step

    def failing(self, rows):
        if self.state.step == 7:
            raise RuntimeError("stopped")
        return step(self, rows)

    monkeypatch.setattr(Trainer, "step", failing)
    with pytest.raises(RuntimeError, match="stopped"):
        fitted(Training(**settings, checkpoint_seconds=0.0), output=tmp_path)
    monkeypatch.setattr(Trainer, "step", step)
    torch.manual_seed(99)
    resumed, _ = fitted(Training(**settings), output=tmp_path, resume=True)
    same(whole, resumed, **EXACT)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_the_same_where_the_probability_rounds_to_zero(family):
    made, batch = FAMILIES[family], FAMILIES[family].batch()
    names = made.config(**made.sizes).to_dict()
    backbone = made.make(**{name: 1e-9 for name in (*DROPOUT, "seq_classif_dropout") if name in names})
    before = backbone(**batch)[0]
    set_fast_dropout(backbone, True)
    torch.testing.assert_close(backbone.train()(**batch)[0], before, atol=1e-5, rtol=1e-4)


def test_while_compiling_dropout_is_pytorchs_which_the_compiler_fuses(batch, monkeypatch):
    expected = seeded_logits(make_tiny(dropout_rate=0.2).train(), batch)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(seeded_logits(fast_tiny().train(), batch), expected)
