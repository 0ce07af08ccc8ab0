"""Mask and position bias combined once a stack: the same numbers, fewer tensors."""

import copy

import pytest
import torch
from families import FAMILIES

from conftest import make_tiny
from hyperadapters import METHODS, attach, load_backbone
from hyperadapters._utils.memory import saved_tensors
from hyperadapters.backbones.checkpointing import _enable_checkpointing
from hyperadapters.backbones.optimized_attention import combine_masks

HANDING_ON = ("t5", "t5-v1.1", "mt5")


def combining(**changes):
    backbone = make_tiny(**changes)
    combine_masks(backbone)
    return backbone


@pytest.fixture(params=["padded", "whole", "unmasked", "decoder masked"])
def inputs(request, batch):
    """The masks there can be."""
    if request.param == "whole":
        return {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}
    if request.param == "unmasked":
        return {key: value for key, value in batch.items() if key != "attention_mask"}
    if request.param == "decoder masked":
        return {**batch, "decoder_attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])}
    return batch


def test_logits_are_the_same_bit_for_bit(inputs):
    with torch.no_grad():
        expected, found = make_tiny()(**inputs), combining()(**inputs)
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.loss, expected.loss)


def test_gradients_are_the_same(inputs):
    gradients = []
    for backbone in (make_tiny(), combining()):
        delta = attach(backbone, METHODS["full"])
        backbone(**inputs).loss.backward()
        gradients.append({key: tensor.grad for key, tensor in delta.trained().items()})
    for key, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}, {"use_cache": False}])
def test_generation_gives_the_same_tokens(options, batch):
    source = {key: batch[key] for key in ("input_ids", "attention_mask")}
    fixed = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "disable_compile": True, **options}
    assert torch.equal(combining().generate(**source, **fixed), make_tiny().generate(**source, **fixed))


def test_autocast_keeps_masked_rows_finite(batch):
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = make_tiny()(**batch).logits, combining()(**batch).logits
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)


def test_a_stack_keeps_one_mask_instead_of_one_a_layer(batch):
    kept = []
    for backbone in (make_tiny(num_layers=6), combining(num_layers=6)):
        attach(backbone, METHODS["compacter++"])
        with saved_tensors(backbone) as saved:
            backbone(**batch)
        kept.append(sum(saved.values()))
    rows, heads, source, target = 2, 4, 9, 4
    encoder, decoder, cross = rows * heads * source**2, heads * target**2, rows * heads * target * source
    assert kept[0] - kept[1] >= 4 * 5 * (encoder + decoder + cross)


def test_gradient_checkpointing_gives_the_same_gradients(batch):
    gradients = []
    for backbone in (make_tiny(), combining()):
        delta = attach(backbone.train(), METHODS["houlsby"])
        for tensor in delta.trained().values():
            torch.nn.init.normal_(tensor, std=0.1, generator=torch.Generator().manual_seed(0))
        _enable_checkpointing(backbone)
        backbone(**batch, use_cache=False).loss.backward()
        gradients.append({key: tensor.grad for key, tensor in delta.trained().items()})
    for key, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], expected, rtol=1e-5, atol=1e-7)


def test_a_copy_combines_too(batch):
    backbone = combining()
    twin = copy.deepcopy(backbone)
    with torch.no_grad():
        assert torch.equal(twin(**batch).logits, backbone(**batch).logits)
    assert list(twin.state_dict()) == list(make_tiny().state_dict())


@pytest.mark.parametrize("family", FAMILIES)
def test_only_families_that_hand_a_bias_on_are_concerned(family):
    assert len(combine_masks(FAMILIES[family].make())) == (6 if family in HANDING_ON else 0)


def test_backbones_are_loaded_with_it():
    attentions = [module for module in load_backbone()[0].modules() if hasattr(module, "compute_bias")]
    assert all(len(module._forward_pre_hooks) == 1 for module in attentions)
