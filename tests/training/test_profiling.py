"""What a Delta costs, against what can be worked out by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from conftest import make_tiny
from hyperadapters import METHODS, InputError, attach, attached, count_parameters
from hyperadapters._utils.memory import saved_tensors
from hyperadapters.tasks.targets import FreeText
from hyperadapters.tasks.task_format import TaskFormat
from hyperadapters.training.data import Data, Text
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.profiling import measure, median_seconds


class Padding:
    pad_token_id = 0
    eos_token_id = 1

    def __call__(self, texts, **_):
        return SimpleNamespace(input_ids=[[3, 1] for _ in texts])


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


@pytest.mark.parametrize(("enough", "calls"), [(math.inf, 4), (1e-12, 2)])
def test_what_takes_long_is_timed_once_after_a_call_that_is_not_counted(enough, calls):
    made = []
    assert median_seconds(lambda: made.append(1), 3, torch.device("cpu"), enough=enough) > 0
    assert len(made) == calls


def test_methods_rank_by_activations_as_the_paper_ranks_them_by_memory():
    """Compacter, Table 3: prompts the most, then adapters everywhere, adapters at one position, BitFit."""
    names = ("prompt-r", "houlsby", "compacter++", "bitfit")
    rows = data(32, 48)
    costs = [measure(attach(make_tiny(), METHODS[name]), rows, batch_size=32) for name in names]
    saved = [cost.saved_activations for cost in costs]
    assert saved == sorted(saved, reverse=True)
    assert len(set(saved)) == len(saved)


def test_a_method_is_counted_by_name_from_the_backbones_configuration_alone(tmp_path):
    backbone = make_tiny()
    backbone.config.save_pretrained(tmp_path)
    by_hand = sum(tensor.numel() for tensor in attach(backbone, METHODS["compacter++"]).trained().values())
    found = count_parameters("compacter++", backbone=str(tmp_path))
    assert found == count_parameters(METHODS["compacter++"], backbone=str(tmp_path))
    assert found == count_parameters(attached(backbone)[0])
    assert (found.trained, found.bytes) == (by_hand, 4 * by_hand)
    assert found.total == sum(p.numel() for name, p in backbone.named_parameters() if "hyperadapters" not in name)
    assert found.percent == pytest.approx(100 * by_hand / found.total)


def test_several_tasks_are_counted_together(tmp_path):
    make_tiny().config.save_pretrained(tmp_path)
    delta = attach(make_tiny(), METHODS["adapters-multitask"], tasks=["a", "b", "c"])
    by_hand = sum(tensor.numel() for tensor in delta.trained().values())
    one, three = (count_parameters("adapters-multitask", backbone=str(tmp_path), tasks=n).trained for n in (1, 3))
    assert one < three == by_hand


def test_a_method_without_a_backbone_and_a_delta_with_one_are_refused(tiny):
    with pytest.raises(InputError, match=r"needs a backbone, such as backbone=\"t5-base\""):
        count_parameters("compacter")
    with pytest.raises(InputError, match="leave backbone out"):
        count_parameters(attach(tiny, METHODS["houlsby"]), backbone="t5-base")
