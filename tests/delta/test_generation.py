"""When weights are made: every case of the table in `hyperadapters.delta.generation`, without a model."""

import copy
import threading

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from hyperadapters import InputError
from hyperadapters.delta.generation import _batch, _Generation, _tensors_in
from hyperadapters.delta.task_rows import _TaskRows

TOKENS = {"input_ids": torch.zeros(2, 3, dtype=torch.long)}


class Counted:
    """A generation over one parameter that counts how often weights are made."""

    def __init__(self, tasks=()):
        self.parameter, self.made = nn.Parameter(torch.ones(1)), 0
        self.rows = _TaskRows("d", tasks, 0)
        self.generation = _Generation(self.make, lambda: [self.parameter], self.rows, "encoder")

    def make(self, index):
        self.made += 1
        return {"adapters": [2 * self.parameter]}

    def enter(self, stack, **inputs):
        self.generation.before_stack(stack, nn.Identity(), (), {**TOKENS, **inputs})
        return self.made

    def leave(self, output=()):
        self.generation.after_stack(nn.Identity(), (), output)
        return self.made

    def use(self, number=0):
        """What the place with this number gets."""
        return self.generation.used("adapters", 0, number)

    def whole(self):
        """One call of the model, in which both stacks run."""
        self.generation.before_model(nn.Identity(), ())
        for stack in ("encoder", "decoder"):
            self.enter(stack)
            self.leave()
        self.generation.after_model(nn.Identity(), (), ())
        return self.made


def cache(tokens):
    found = DynamicCache()
    if tokens:
        found.update(torch.zeros(1, 1, tokens, 4), torch.zeros(1, 1, tokens, 4), 0)
    return found


def test_the_first_stack_begins_a_pass_and_a_later_one_uses_its_weights():
    counted = Counted()
    assert [counted.whole(), counted.whole()] == [1, 2]


def test_a_later_stack_by_itself_does_not_use_the_weights_of_an_earlier_call():
    counted = Counted()
    with torch.no_grad():
        assert [counted.whole(), counted.enter("decoder"), counted.enter("decoder")] == [1, 2, 3]


def test_decoding_makes_weights_at_its_first_token_and_an_update_makes_them_anew():
    counted = Counted()
    with torch.no_grad():
        counted.enter("encoder")
        assert [counted.enter("decoder", past_key_values=cache(i)) for i in range(3)] == [2, 2, 2]
        counted.parameter.mul_(2)
        assert counted.enter("decoder", past_key_values=cache(3)) == 3


def test_with_gradients_weights_serve_a_stack_once():
    counted = Counted()
    counted.whole()
    assert [counted.enter("decoder", past_key_values=cache(2)) for _ in range(2)] == [2, 3]


def test_other_modes_of_pytorch_make_weights_anew():
    counted = Counted()
    counted.enter("encoder")
    with torch.no_grad():
        assert counted.enter("decoder", past_key_values=cache(1)) == 2
        with torch.autocast("cpu", torch.bfloat16):
            assert counted.enter("decoder", past_key_values=cache(1)) == 3


def test_other_rows_make_weights_anew():
    counted = Counted(tasks=("a", "b"))
    index = counted.rows.index_for(["a", "b"], torch.device("cpu"))
    with torch.no_grad(), counted.rows.using(index):
        counted.enter("encoder")
        assert counted.enter("decoder", past_key_values=cache(1)) == 1
        with counted.rows.using(counted.rows.index_for(["b", "a"], torch.device("cpu"))):
            assert counted.enter("decoder", past_key_values=cache(1)) == 2


def test_rows_that_nobody_chose_are_an_error():
    with pytest.raises(InputError, match=r"holds 2 tasks and was not told which .* It knows a, b"):
        Counted(tasks=("a", "b")).enter("encoder")


def test_a_batch_of_another_number_of_rows_than_tasks_is_an_error():
    counted = Counted(tasks=("a", "b"))
    with (
        counted.rows.using(counted.rows.index_for(["a", "b", "a"], torch.device("cpu"))),
        pytest.raises(InputError, match="the batch has 2 rows, but 3 tasks"),
    ):
        counted.enter("encoder")


def test_a_layer_by_itself_makes_weights_where_there_are_none():
    counted = Counted()
    assert counted.use().item() == 2.0
    assert counted.made == 1
    counted.generation.forget()
    counted.use()
    assert counted.made == 2


def test_outside_a_stack_weights_serve_every_place_once():
    counted = Counted()
    assert [counted.use(0) is counted.use(1), counted.made] == [True, 1]
    counted.use(0)
    assert counted.made == 2


def test_outside_a_stack_an_update_makes_weights_anew_for_the_next_place():
    counted = Counted()
    with torch.no_grad():
        assert counted.use(0).item() == 2.0
        counted.parameter.mul_(3)
        assert counted.use(1).item() == 6.0


def test_inside_a_stack_a_place_may_run_several_times():
    counted = Counted()
    counted.enter("encoder")
    assert [counted.use(0) is counted.use(0), counted.made] == [True, 1]


def test_a_head_uses_the_weights_of_the_stack_before_it_also_at_every_token():
    counted = Counted()
    with torch.no_grad():
        counted.enter("encoder")
        counted.use(0)
        counted.leave()
        counted.use(1)
        for token in range(1, 3):
            counted.enter("encoder", past_key_values=cache(token))
            counted.leave()
            counted.use(1)
    assert counted.made == 1


def test_every_thread_has_weights_of_its_own():
    counted = Counted()
    mine, others = counted.use(), []
    thread = threading.Thread(target=lambda: others.append(counted.use(1)))
    thread.start()
    thread.join()
    assert others[0] is not mine
    assert counted.use(1) is mine


def test_a_pass_in_another_thread_is_known():
    counted, entered, ended = Counted(), threading.Event(), threading.Event()

    def run():
        counted.enter("encoder")
        entered.set()
        ended.wait(30)

    thread = threading.Thread(target=run)
    thread.start()
    entered.wait(30)
    assert counted.generation.computed_elsewhere
    ended.set()
    thread.join()
    assert not counted.generation.computed_elsewhere


def test_the_gradient_of_a_stacks_output_puts_its_own_weights_back():
    counted = Counted()
    counted.enter("encoder")
    mine = counted.generation.current
    output = counted.use() * 3
    counted.leave((output,))
    with torch.no_grad():
        counted.enter("encoder")
    assert counted.generation.current is not mine
    output.sum().backward()
    assert counted.generation.current is mine


def test_a_copy_starts_without_weights():
    counted = Counted()
    counted.enter("encoder")
    assert copy.deepcopy(counted.generation.current).made == {}


def test_tensors_are_found_inside_tuples_and_mappings_and_a_batch_by_its_inputs():
    one, two = torch.ones(4), torch.ones(5)
    assert [len(tensor) for tensor in _tensors_in({"a": one, "b": (None, [two])})] == [4, 5]
    assert len(_batch((), {"attention_mask": torch.ones(3), "inputs_embeds": torch.ones(7, 2)})) == 7


def test_rows_of_a_decoder_share_a_task_only_if_they_are_copies():
    counted = Counted(tasks=("a", "b"))
    copies = torch.tensor([[1, 2], [1, 2], [3, 4], [3, 4]])
    with torch.no_grad(), counted.rows.using(counted.rows.index_for(["a", "b"], torch.device("cpu"))):
        counted.enter("decoder", input_ids=copies)
        counted.enter("decoder", input_ids=copies[:, :1] + torch.arange(4)[:, None], past_key_values=cache(2))
        with pytest.raises(InputError, match="the batch has 4 rows, but 2 tasks .*Only copies of a row"):
            counted.enter("decoder", input_ids=torch.arange(8).view(4, 2))
