"""A Delta that another library froze says so; both can train."""

import warnings

import pytest
import torch

from conftest import make_batch, make_tiny
from hyperadapters import attach

peft = pytest.importorskip("peft", reason="peft is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


def wrapped():
    delta = attach(make_tiny(), "houlsby")
    return delta, peft.get_peft_model(delta.backbone, peft.LoraConfig(target_modules=["q"])).train()


def test_a_delta_that_peft_froze_says_so():
    delta, model = wrapped()
    assert not any(tensor.requires_grad for tensor in delta.trained().values())
    with pytest.warns(UserWarning, match=r"'default' is in use but frozen, while .*lora_A.* trains"):
        model(**make_batch(2))


def test_both_train_where_the_delta_is_let_train_again():
    delta, model = wrapped()
    for tensor in delta.trained().values():
        tensor.requires_grad_()
    model(**make_batch(2)).loss.backward()
    assert all(tensor.grad is not None for tensor in delta.trained().values())
    assert all(p.grad is not None for name, p in model.named_parameters() if "lora_" in name)


def test_nothing_is_said_where_the_delta_rests_or_nothing_trains():
    delta, model = wrapped()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        model(**make_batch(2))
    delta.rest()
    model(**make_batch(2)).loss.backward()
    alone = attach(make_tiny(), "houlsby")
    for tensor in alone.trained().values():
        tensor.requires_grad_(False)
    alone.backbone.train()(**make_batch(2))


def test_a_backbone_that_was_unfrozen_whole_says_so():
    delta = attach(make_tiny(), "houlsby")
    delta.backbone.train()
    delta.backbone.shared.weight.requires_grad_()  # a part is somebody's choice
    delta.backbone(**make_batch(2))
    delta.backbone.requires_grad_(True)
    with pytest.warns(UserWarning, match="all of the backbone trains beside the Delta 'default'"):
        delta.backbone(**make_batch(2))
    delta.backbone.requires_grad_(False)
    for tensor in delta.trained().values():
        tensor.requires_grad_()
    delta.backbone(**make_batch(2)).loss.backward()
    attach(make_tiny(), "full").backbone.train()(**make_batch(2)).loss.backward()
