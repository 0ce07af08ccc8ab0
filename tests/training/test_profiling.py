"""What a Delta costs, against what can be worked out by hand."""

import pytest
import torch
from torch import nn

from conftest import make_tiny
from hyperadapters import METHODS, attach, measure
from hyperadapters._utils.memory import saved_tensors
from hyperadapters.tasks.task import FreeText, TaskFormat
from hyperadapters.training.data import Data, Text
from hyperadapters.training.encoded import Encoded


class Padding:
    pad_token_id = 0
    eos_token_id = 1


def data(rows=6, length=12):
    generator = torch.Generator().manual_seed(0)
    encoded = [
        Encoded(torch.randint(3, 90, (length - i % 3,), generator=generator).tolist(), [5, 1]) for i in range(rows)
    ]
    return Data(TaskFormat("toy", ("text",), FreeText()), (), Padding(), Text(), {"train": encoded}, {}, {})


@pytest.mark.parametrize(("trained", "saved"), [("weight", 5 * 8 + 5 * 16 + 5 * 16), ("bias", 5 * 16)])
def test_saved_activations_are_those_of_the_chain_rule(trained, saved):
    """A weight's gradient needs its layer's input, a bias's does not; the activation's needs its own input."""
    model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith(trained))
    with saved_tensors(model) as found:
        model(torch.randn(5, 8))
    assert sum(found.values()) == 4 * saved


def test_views_of_one_storage_count_once():
    model, x = nn.Linear(8, 8, bias=False), torch.randn(4, 8)
    with saved_tensors(model) as found:
        model(x) + model(x.view(2, 2, 8)).view(4, 8)
    assert sum(found.values()) == 4 * x.numel()


def test_measuring_leaves_weights_gradients_mode_and_random_state_alone(tiny, batch):
    delta = attach(tiny, METHODS["compacter"])
    before, state = tiny(**batch).logits, torch.get_rng_state()
    cost = measure(delta, data(), batch_size=4)
    assert torch.equal(tiny(**batch).logits, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not tiny.training
    assert all(tensor.grad is None for tensor in delta.trained().values())
    assert (cost.rows, cost.source_length) == (4, 12)
    assert cost.step_seconds > 0
    assert cost.generate_seconds > 0


def test_methods_rank_by_activations_as_the_paper_ranks_them_by_memory():
    """Compacter, Table 3: prompts the most, then adapters everywhere, adapters at one position, BitFit."""
    names = ("prompt-r", "houlsby", "compacter++", "bitfit")
    rows = data(32, 48)
    costs = [measure(attach(make_tiny(), METHODS[name]), rows, batch_size=32, repeats=1) for name in names]
    saved = [cost.saved_activations for cost in costs]
    assert saved == sorted(saved, reverse=True)
    assert len(set(saved)) == len(saved)
