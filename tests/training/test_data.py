"""Encoding, grouping by length, padding."""

import pytest
import torch
from families import FAMILIES

from hyperadapters import InputError, Text, load_backbone, load_data
from hyperadapters.training.batching import _CPU_PADDING, _CPU_TOKENS, answer_batches, batches_by_length, epoch_batches
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.tensors import _collate

LENGTHS = torch.randint(3, 100, (1000,), generator=torch.Generator().manual_seed(0)).tolist()


def tokens_of(batches: list[list[int]], lengths: list[int]) -> tuple[int, int]:
    """Real and padded tokens of batches of row numbers, each padded to its longest row."""
    real = sum(lengths[i] for batch in batches for i in batch)
    return real, sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)


def test_an_epoch_takes_every_row_once_and_depends_on_seed_and_epoch_alone():
    batches = epoch_batches(LENGTHS, 32, seed=1, epoch=0)
    assert sorted(i for batch in batches for i in batch) == list(range(1000))
    assert batches == epoch_batches(LENGTHS, 32, seed=1, epoch=0)
    assert batches != epoch_batches(LENGTHS, 32, seed=1, epoch=1)
    assert batches != epoch_batches(LENGTHS, 32, seed=2, epoch=0)


def test_grouping_by_length_leaves_little_padding():
    real, padded = tokens_of(epoch_batches(LENGTHS, 32, seed=1, epoch=0), LENGTHS)
    assert padded / real < 1.05
    at_random = [list(range(i, min(i + 32, 1000))) for i in range(0, 1000, 32)]
    assert tokens_of(at_random, LENGTHS)[1] / real > 1.5


@pytest.mark.parametrize("task", ["cola", "rte"])
def test_grouping_by_length_leaves_little_padding_on_real_tasks(task, tokenizer, shared):
    rows = load_data(f"glue/{task}", tokenizer, shared / "glue").splits["train"]
    lengths = [len(row.source) for row in rows]
    real, padded = tokens_of(epoch_batches(lengths, 32, seed=1, epoch=0), lengths)
    assert padded / real < 1.05


def test_the_batches_of_an_epoch_do_not_come_in_order_of_length():
    longest = [max(LENGTHS[i] for i in batch) for batch in epoch_batches(LENGTHS, 32, seed=1, epoch=0)]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_evaluation_begins_with_the_longest_rows():
    batches = batches_by_length(LENGTHS, 100)
    assert LENGTHS[batches[0][0]] == max(LENGTHS)
    assert sorted(i for batch in batches for i in batch) == list(range(1000))


def padding_of(batch, lengths):
    return len(batch) * max(lengths[i] for i in batch) - sum(lengths[i] for i in batch)


def test_on_a_cpu_rows_are_answered_in_batches_whose_padding_costs_less_than_another_pass():
    few = LENGTHS[:400]
    batches = answer_batches(few, 128, "score", torch.device("cpu"))
    assert [i for batch in batches for i in batch] == [i for batch in batches_by_length(few, 128) for i in batch]
    assert all(len(batch) <= 128 for batch in batches)
    assert all(
        len(batch) * few[batch[0]] <= _CPU_TOKENS and padding_of(batch, few) <= _CPU_PADDING for batch in batches
    )
    costs = [
        tokens_of(each, few)[1] + _CPU_PADDING * len(each)
        for each in (batches, *(batches_by_length(few, size) for size in (8, 16, 32, 64, 128)))
    ]
    assert costs[0] == min(costs)


def test_rows_of_one_length_fill_a_batch_and_a_long_one_is_a_batch_by_itself():
    cpu = torch.device("cpu")
    assert [len(batch) for batch in answer_batches([8] * 10, 4, "score", cpu)] == [4, 4, 2]
    assert answer_batches([9, 5000, 9], 4, "score", cpu) == [[1], [0, 2]]
    assert answer_batches([], 4, "score", cpu) == []


@pytest.mark.parametrize(("mode", "device"), [("generate", "cpu"), ("score", "cuda")])
def test_where_a_pass_costs_more_than_its_padding_batches_are_full(mode, device):
    assert answer_batches(LENGTHS, 64, mode, torch.device(device)) == batches_by_length(LENGTHS, 64)


def test_a_batch_is_padded_to_its_longest_row():
    batch = _collate([Encoded([5, 6, 1], [7, 1]), Encoded([5, 1], [8, 9, 1])], pad=0)
    assert batch["input_ids"].tolist() == [[5, 6, 1], [5, 1, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[7, 1, -100], [8, 9, 1]]


@pytest.fixture(scope="module")
def tokenizer():
    return load_backbone()[1]


def test_long_sources_are_cut_keep_their_end_and_are_counted(tokenizer):
    data = load_data("demo/acceptability", tokenizer, text=Text(source_length=12))
    assert max(len(row.source) for row in data.splits["train"]) == 12
    assert all(row.source[-1] == tokenizer.eos_token_id for row in data.splits["train"])
    assert 0 < data.truncated["train"] <= 2000


def test_fewer_training_rows_are_drawn_by_the_seed(tokenizer):
    def rows(seed):
        return load_data("demo/acceptability", tokenizer, text=Text(train_rows=10), seed=seed).splits["train"]

    assert len(rows(1)) == 10
    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_evaluation_rows_are_the_same_for_every_seed(tokenizer):
    def found(seed, rows):
        return load_data("demo/acceptability", tokenizer, text=Text(evaluation_rows=rows), seed=seed)

    data = found(1, 10)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 2000, "validation": 10, "test": 10}
    assert {split: len(rows) for split, rows in data.references.items()} == {
        "train": 2000,
        "validation": 10,
        "test": 10,
    }
    assert data.splits == found(2, 10).splits
    assert len(found(1, 10**6).splits["test"]) == 800
    with pytest.raises(InputError, match="evaluation_rows=0: must be 1 or more"):
        found(1, 0)


def test_more_rows_than_there_are_is_refused(tokenizer):
    with pytest.raises(InputError, match="has 2000 training rows; take 1 to 2000"):
        load_data("demo/acceptability", tokenizer, text=Text(train_rows=10**6))


def test_lengths_that_hold_no_text_are_refused(tokenizer):
    with pytest.raises(InputError, match="text.target_length=1: must be 2 or more"):
        load_data("demo/acceptability", tokenizer, text=Text(target_length=1))


def test_the_data_says_how_many_rows_there_are_before_limits(tokenizer):
    text = Text(train_rows=10, evaluation_rows=5)
    data = load_data("demo/acceptability", tokenizer, text=text)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 10, "validation": 5, "test": 5}
    assert data.available == {"train": 2000, "validation": 400, "test": 800}


@pytest.mark.parametrize(("family", "kind"), [("t5", "encoder-decoder"), ("bert", "encoder"), ("gpt2", "decoder")])
def test_rows_are_encoded_for_the_kind_of_backbone_given(family, kind, tokenizer):
    text, backbone = Text(train_rows=2, evaluation_rows=2), FAMILIES[family].make()
    data = load_data("demo/acceptability", tokenizer, text=text, backbone=backbone)
    assert data.kind == kind
    numbers = all(row.target in ([0], [1]) for row in data.splits["train"])
    assert numbers is (kind == "encoder")
    if kind == "encoder-decoder":
        assert data.splits == load_data("demo/acceptability", tokenizer, text=text).splits
