"""When weights are made: every case of the table in `hyperadapters.delta.generation`, without a model."""

import copy

import pytest
import torch
from torch import nn
from transformers import DynamicCache

from hyperadapters import InputError
from hyperadapters.delta.generation import _batch_size, _Generation, _tensors_in
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
        return {"adapters": 2 * self.parameter}

    def enter(self, stack, **inputs):
        self.generation.before_stack(stack, None, (), {**TOKENS, **inputs})
        return self.made


def cache(tokens):
    found = DynamicCache()
    if tokens:
        found.update(torch.zeros(1, 1, tokens, 4), torch.zeros(1, 1, tokens, 4), 0)
    return found


def test_the_first_stack_begins_a_pass_and_a_later_one_uses_its_weights():
    counted = Counted()
    assert [counted.enter(stack) for stack in ("encoder", "decoder", "encoder", "decoder")] == [1, 1, 2, 2]


def test_decoding_makes_weights_once_and_an_update_makes_them_anew():
    counted = Counted()
    with torch.no_grad():
        counted.enter("encoder")
        assert [counted.enter("decoder", past_key_values=cache(i)) for i in range(3)] == [1, 1, 1]
        counted.parameter.mul_(2)
        assert counted.enter("decoder", past_key_values=cache(3)) == 2


def test_with_gradients_weights_serve_a_stack_once():
    counted = Counted()
    assert [counted.enter(stack) for stack in ("encoder", "decoder", "decoder")] == [1, 1, 2]


def test_other_modes_of_pytorch_make_weights_anew():
    counted = Counted()
    counted.enter("encoder")
    with torch.no_grad():
        assert counted.enter("decoder") == 2
        with torch.autocast("cpu", torch.bfloat16):
            assert counted.enter("decoder") == 3


def test_other_rows_make_weights_anew():
    counted = Counted(tasks=("a", "b"))
    index = counted.rows.index_for(["a", "b"], torch.device("cpu"))
    with torch.no_grad(), counted.rows.using(index):
        counted.enter("encoder")
        assert counted.enter("decoder") == 1
        with counted.rows.using(counted.rows.index_for(["b", "a"], torch.device("cpu"))):
            assert counted.enter("decoder") == 2


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
    assert counted.generation.of_part("adapters").item() == 2.0
    counted.generation.of_part("adapters")
    assert counted.made == 1
    counted.generation.forget()
    counted.generation.of_part("adapters")
    assert counted.made == 2


def test_the_gradient_of_a_stacks_output_puts_its_own_weights_back():
    counted = Counted()
    counted.enter("encoder")
    mine = counted.generation.current
    output = counted.generation.of_part("adapters") * 3
    counted.generation.after_stack(None, (), (output,))
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
    assert _batch_size((), {"attention_mask": torch.ones(3), "inputs_embeds": torch.ones(7, 2)}) == 7
