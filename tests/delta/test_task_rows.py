"""The tasks on the adapter axis, and which of them rows use."""

import pytest
import torch

from hyperadapters import InputError
from hyperadapters.delta.task_rows import _TaskRows

CPU = torch.device("cpu")


def test_rows_name_their_task_whole_or_by_its_last_part():
    rows = _TaskRows("d", ("glue/rte", "glue/mrpc"), 0)
    index = rows.index_for(["mrpc", "glue/rte", "mrpc"], CPU)
    assert index.present.tolist() == [1, 0]
    assert index.index.tolist() == [0, 1, 0]


def test_contexts_of_rows_lie_inside_each_other():
    rows = _TaskRows("d", ("a", "b"), 0)
    outer, inner = rows.index_for(["a"], CPU), rows.index_for(["b"], CPU)
    with rows.using(outer):
        with rows.using(inner):
            assert rows.index_for_pass() is inner
        assert rows.index_for_pass() is outer
        assert rows.differ_from(inner)
        assert not rows.differ_from(outer)


def test_one_task_need_not_be_chosen():
    rows = _TaskRows("d", (), 0)
    assert not rows.must_be_chosen
    assert not rows.differ_from(rows.index_for_pass())


@pytest.mark.parametrize(
    ("rows", "tasks", "message"),
    [
        (_TaskRows("d", ("a", "b"), 0), ["c"], r"Delta 'd' knows no task 'c'. It knows a, b"),
        (_TaskRows("d", ("a", "b"), 0), [], r"rows of Delta 'd' were given no task. It knows a, b"),
        (_TaskRows("d", (), 0), ["a"], "holds one task alone, without a name; 'a' was given"),
        (_TaskRows("d", (), 4), ["a"], "is held by a pool, which knows tasks; 'a' was given"),
    ],
)
def test_a_task_that_is_not_there_is_refused(rows, tasks, message):
    with pytest.raises(InputError, match=message):
        rows.index_for(tasks, CPU)
