"""One task that trains alone: its entries are parameters of their own."""

import pytest
import torch

import hyperadapters as ha

METHODS = {"houlsby": {"bottleneck": 8}, "compacter": {"bottleneck": 8}, "bitfit": {}, "prompt-r": {"prompt_length": 3}}


@pytest.fixture(params=sorted(METHODS))
def delta(request, tiny):
    found = ha.attach(tiny, ha.method_named(request.param, METHODS[request.param]), tasks=["a", "b", "c"])
    with torch.no_grad():
        for tensor in found.tensors().values():
            tensor.add_(torch.randn_like(tensor) / 10)
    return found


def logits(delta, batch, task):
    with torch.no_grad(), delta.rows(task):
        return delta.backbone(**batch).logits


def test_training_one_task_alone_changes_no_answer_until_it_moves(delta, batch):
    before = {task: logits(delta, batch, task) for task in delta.tasks}
    delta.train_only("b")
    assert delta.trained_task == "b"
    assert all(len(tensor) == 1 for tensor in delta.trained().values())
    assert all(torch.equal(logits(delta, batch, task), before[task]) for task in delta.tasks)


def test_weight_decay_and_momentum_move_that_task_alone(delta, batch):
    before = {key: tensor.detach().clone() for key, tensor in delta.tensors().items()}
    answers = {task: logits(delta, batch, task) for task in delta.tasks}
    delta.train_only("b")
    optimizer = torch.optim.AdamW(delta.trained().values(), lr=0.1, weight_decay=0.5)
    for _ in range(2):
        with delta.rows(["b", "a"]):
            delta.backbone(**batch).loss.backward()
        optimizer.step()
    after = delta.tensors()
    own = delta.trained().keys()
    assert all(torch.equal(after[key], value) for key, value in before.items() if key not in own)
    assert all(torch.equal(after[key][[0, 2]], before[key][[0, 2]]) for key in own)
    assert all(not torch.equal(after[key][1], before[key][1]) for key in own)
    assert torch.equal(logits(delta, batch, "a"), answers["a"])
    assert not torch.equal(logits(delta, batch, "b"), answers["b"])


def test_what_it_learned_is_saved_and_stays_when_all_trains_again(delta, batch, tmp_path):
    delta.train_only("b")
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.5)
    answers = {task: logits(delta, batch, task) for task in delta.tasks}
    delta.save(tmp_path)
    delta.train_only(None)
    assert delta.trained_task is None
    assert all(tensor.requires_grad and len(tensor) > 0 for tensor in delta.trained().values())
    assert all(torch.equal(logits(delta, batch, task), answers[task]) for task in delta.tasks)
    delta.detach()
    loaded = ha.load(tmp_path, delta.backbone)
    assert all(torch.equal(logits(loaded, batch, task), answers[task]) for task in delta.tasks)


def test_gradients_are_those_of_the_whole_tensors_entry(delta, batch):
    with delta.rows(["b", "b"]):
        delta.backbone(**batch).loss.backward()
    own = [f"{name}.{key}" for name, part in delta.parts.items() for key in part.per_adapter()]
    expected = {key: delta.trained()[key].grad[1:2] for key in own}
    delta.backbone.zero_grad()
    delta.train_only("b")
    with delta.rows(["b", "b"]):
        delta.backbone(**batch).loss.backward()
    for key, gradient in expected.items():
        torch.testing.assert_close(delta.trained()[key].grad, gradient)
