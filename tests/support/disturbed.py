"""Adapters whose tensors are all other than at their start, and what a model answers."""

import torch


def disturb(delta, by=0.05):
    """Give every trained tensor other values, so that nothing is zero or one."""
    with torch.no_grad():
        for number, tensor in enumerate(delta.trained().values()):
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number)) * by)
    return delta


def logits(model, batch):
    """What a model answers to a batch."""
    with torch.no_grad():
        return model(**batch).logits
