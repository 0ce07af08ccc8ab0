"""Deltas that read what their tasks are, told of them without a backbone or a tokenizer."""

import torch


def told(delta):
    """The same Delta, with a state for each task if it reads what tasks are: a text's, without a tokenizer."""
    for part in delta.parts.values():
        if known := part.known_of_tasks():
            known.set(range(len(delta.tasks)), [*torch.randn(len(delta.tasks), 1, known.states.shape[-1])])
    return delta
