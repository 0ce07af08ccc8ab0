"""Answers found batch by batch, back in the order of their rows."""

import torch

from conftest import make_tiny
from hyperadapters import METHODS, attach
from hyperadapters.training.answering import evaluating, in_row_order
from hyperadapters.training.task_adapters import using_tasks


def test_answers_come_in_the_order_of_their_rows():
    assert in_row_order([((3, 0), ("d", "a")), ((1,), ("b",)), ((2,), ("c",))]) == ["a", "b", "c", "d"]
    assert in_row_order([]) == []


def test_evaluation_leaves_the_mode_as_it_was(tiny):
    for training in (True, False):
        tiny.train(training)
        with evaluating(tiny):
            assert not tiny.training
            assert not torch.is_grad_enabled()
        assert tiny.training is training
        assert torch.is_grad_enabled()


def test_each_row_uses_the_adapter_of_its_task_and_one_adapter_serves_all(batch):
    backbone = make_tiny()
    several = attach(backbone, METHODS["adapters-multitask"], tasks=["first", "second"])
    with torch.no_grad():
        for tensor in several.trained().values():
            tensor.add_(0.1 * torch.randn_like(tensor))
        with using_tasks(several, ["second", "first"]) as same:
            mixed = same(**batch).logits
        for row, task in enumerate(("second", "first")):
            with using_tasks(several, task):
                torch.testing.assert_close(backbone(**batch).logits[row], mixed[row], rtol=0, atol=1e-5)
        several.detach()
        alone = attach(backbone, METHODS["houlsby"])
        with using_tasks(alone, ["a", "task without a name"]) as same:
            assert torch.equal(same(**batch).logits, alone.backbone(**batch).logits)
