"""Selecting adapters and gathering by row, against indexing written out."""

import torch

from hyperadapters.layers.adapter_index import AdapterIndex, index_of, per_row, selected
from hyperadapters.layers.bottleneck import AdapterWeights, bottleneck_adapter


def test_rows_number_the_present_adapters_once():
    rows = index_of([7, 2, 7, 4], torch.device("cpu"))
    assert rows.present.tolist() == [7, 2, 4]
    assert rows.present[rows.index].tolist() == [7, 2, 7, 4]


def test_rows_of_one_adapter_are_not_gathered():
    rows = index_of([5, 5, 5], torch.device("cpu"))
    assert rows.present.tolist() == [5]
    assert rows.index is None


def test_selecting_and_gathering_are_indexing():
    bank = torch.randn(9, 3, 2)
    rows = index_of([7, 2, 7, 4], torch.device("cpu"))
    assert torch.equal(per_row(selected(bank, rows.present), rows.index, 4), bank[[7, 2, 7, 4]])
    assert torch.equal(per_row(selected(bank, rows.present), rows.index, 8), bank[[7, 7, 2, 2, 7, 7, 4, 4]])
    assert selected(bank, AdapterIndex().present) is bank


def test_rows_with_an_adapter_each_are_not_gathered():
    bank = torch.randn(9, 3, 2)
    rows = index_of([7, 2, 4], torch.device("cpu"))
    mine = selected(bank, rows.present)
    assert per_row(mine, rows.index, 3) is mine
    assert torch.equal(mine, bank[[7, 2, 4]])
    assert torch.equal(per_row(mine, rows.index, 6), bank[[7, 7, 2, 2, 4, 4]])


def test_each_row_of_a_batch_goes_through_its_own_adapter():
    bank = AdapterWeights(*(torch.randn(2, *shape) for shape in ((6, 4), (4,), (4, 6), (6,))))
    y = torch.randn(3, 5, 6)
    index = [1, 0, 1]
    found = bottleneck_adapter(y, bank._replace(rows=torch.tensor(index)), "gelu_new")
    alone = [
        bottleneck_adapter(row, AdapterWeights(*(weight[i] for weight in bank[:4])), "gelu_new")
        for row, i in zip(y, index, strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(alone))


def test_rows_that_come_in_runs_are_gathered_once_a_run():
    tasks = [7, 7, 2, 2, 2, 2, 7, 7]
    rows = index_of(tasks, torch.device("cpu"))
    assert (rows.run_length, rows.count, rows.index.tolist()) == (2, 8, [0, 1, 1, 0])
    bank = torch.randn(9, 3, 2)
    assert torch.equal(per_row(selected(bank, rows.present), rows.index, 8), bank[tasks])
    assert index_of([1, 0], torch.device("cpu")).is_per_row
    assert not index_of([1] * 8 + [0] * 8, torch.device("cpu")).is_per_row
