"""Gradients that a backward pass finds for a Delta which is no longer in use: kept, or refused."""

import copy
import io

import pytest
import torch

from hyperadapters import METHODS, attach, method_named

METHODS_TRIED = ["houlsby", "compacter++", "bitfit", "prompt-r", "hyperformer++", "peft:lora"]


def loss_of(backbone, batch):
    return backbone(**batch).logits.float().pow(2).mean()


def gradients(delta):
    found = {name: tensor.grad for name, tensor in delta.trained().items()}
    for tensor in delta.trained().values():
        tensor.grad = None
    return found


def equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert (a[name] is None) == (b[name] is None)
        if a[name] is not None:
            torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-7)


@pytest.fixture(params=METHODS_TRIED)
def pair(request, tiny):
    if request.param.startswith("peft"):
        pytest.importorskip("peft")
    method = method_named(request.param)
    tasks = {"tasks": ["x", "y"]} if request.param == "hyperformer++" else {}
    deltas = [attach(tiny, method, name, seed=seed, **tasks) for seed, name in enumerate("ab")]
    if tasks:
        for delta in deltas:
            delta.train_only(None)
    return deltas


def run(delta, batch):
    delta.use()
    if delta.tasks:
        with delta.rows("x"):
            return loss_of(delta.backbone, batch)
    return loss_of(delta.backbone, batch)


def test_a_joint_loss_over_two_gives_both_their_gradients(pair, batch):
    a, b = pair
    expected = []
    for delta in (a, b):
        run(delta, batch).backward()
        expected.append(gradients(delta))
    assert any(tensor is not None and tensor.abs().sum() > 0 for tensor in expected[0].values())
    (run(a, batch) + run(b, batch)).backward()
    for delta, own in zip((a, b), expected, strict=True):
        equal(gradients(delta), own)


def test_gradients_of_before_and_after_add_up(pair, batch):
    a, b = pair
    run(a, batch).backward()
    once = gradients(a)
    early = run(a, batch)
    b.use()
    early.backward()
    run(a, batch).backward()
    equal(gradients(a), {name: None if tensor is None else 2 * tensor for name, tensor in once.items()})
    assert not any(name for name, tensor in a.trained().items() if not tensor.requires_grad)


def test_a_detached_one_keeps_its_gradients(tiny, batch):
    delta = attach(tiny, METHODS["houlsby"], "a", seed=0)
    loss_of(tiny, batch).backward()
    expected = gradients(delta)
    loss = loss_of(tiny, batch)
    delta.detach()
    loss.backward()
    equal(gradients(delta), expected)


def test_the_rest_of_a_passes_gradients_is_kept_when_one_task_alone_trains_from_then_on(tiny, batch):
    delta = attach(tiny, METHODS["houlsby"], "a", tasks=["x", "y"], seed=0)
    before = dict(delta.trained())
    with delta.rows("x"):
        loss = loss_of(tiny, batch)
    delta.train_only("y")
    loss.backward()
    assert all(tensor.grad is not None for tensor in before.values())
    assert not any(tensor.requires_grad for tensor in before.values())


def test_a_tensor_that_the_user_froze_gets_no_gradient(tiny, batch):
    delta = attach(tiny, METHODS["houlsby"], "a", seed=0)
    delta.trained()["adapters.up_bias"].requires_grad_(False)
    loss = loss_of(tiny, batch)
    delta.rest()
    loss.backward()
    assert [name for name, grad in gradients(delta).items() if grad is None] == ["adapters.up_bias"]


def test_full_fine_tuning_put_to_rest_before_its_backward_pass_is_refused(tiny, batch):
    delta = attach(tiny, METHODS["full"], "a")
    loss = loss_of(tiny, batch)
    delta.rest()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    delta.use()
    loss_of(tiny, batch).backward()
    delta.detach()
    tiny.requires_grad_()
    tiny.zero_grad()
    loss_of(tiny, batch).backward()
    assert all(tensor.grad is not None for tensor in tiny.parameters())


def test_a_backbone_whose_delta_is_at_rest_can_be_written_whole(tiny):
    delta = attach(tiny, METHODS["houlsby"], "a", seed=0)
    delta.rest()
    torch.save(tiny, io.BytesIO())


def test_a_copy_keeps_its_own(tiny, batch):
    first = attach(tiny, METHODS["houlsby"], "a", seed=0)
    other = copy.deepcopy(tiny)
    (delta,) = other.hyperadapters.values()
    loss = loss_of(other, batch)
    delta.rest()
    loss.backward()
    assert all(tensor.grad is not None for tensor in delta.trained().values())
    assert all(tensor.grad is None for tensor in first.trained().values())
