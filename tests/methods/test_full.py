"""Full fine-tuning, on a backbone that changes meanwhile."""

import pytest
import torch
from families import FAMILIES

from hyperadapters import METHODS, attach


@pytest.mark.parametrize("family", ["t5", "t5-v1.1", "llama"])
@pytest.mark.parametrize("more", [7, -3])
def test_full_fine_tuning_is_detached_from_a_resized_backbone(family, more):
    backbone = FAMILIES[family].make()
    before = {name: tensor.clone() for name, tensor in backbone.named_parameters()}
    delta = attach(backbone, METHODS["full"])
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(1.0)
    backbone.resize_token_embeddings(96 + more, mean_resizing=False)
    trained = {name: tensor.clone() for name, tensor in backbone.named_parameters()}
    delta.rest()
    for name, tensor in backbone.named_parameters():
        rows = min(len(tensor), len(before[name]))
        assert torch.equal(tensor[:rows], before[name][:rows]), name
    delta.use()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in backbone.named_parameters())
    delta.detach()


def test_full_fine_tuning_is_detached_from_a_backbone_of_another_type():
    backbone = FAMILIES["t5"].make()
    before = {name: tensor.clone() for name, tensor in backbone.named_parameters()}
    delta = attach(backbone, METHODS["full"])
    with torch.no_grad():
        backbone.shared.weight.zero_()
    backbone.half()
    delta.detach()
    assert all(torch.equal(tensor, before[name].half()) for name, tensor in backbone.named_parameters())
