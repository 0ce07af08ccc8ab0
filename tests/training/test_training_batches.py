"""The batches of a run: they depend on the rows, the seed and the epoch alone."""

from mixture_runs import mixture
from training_runs import toy

from hyperadapters import Training
from hyperadapters.training.batching import _mixed_batches, epoch_batches
from hyperadapters.training.training_batches import _TrainingBatches

TRAINING = Training(lr=1e-3, batch_size=5, seed=3)


def test_one_task_is_batched_by_epoch():
    batches = _TrainingBatches(toy(), TRAINING)
    for epoch in (0, 1, 0):
        assert batches.epoch(epoch) == epoch_batches(batches.lengths, 5, 3, epoch)
    assert batches.batch(1, 2) == [batches.rows[i] for i in batches.epoch(1)[2]]
    assert batches.longest(1)[2] == max(len(row.source) for row in batches.batch(1, 2))


def test_a_mixture_is_drawn_by_the_sizes_of_its_tasks():
    batches = _TrainingBatches(mixture(2.0), TRAINING)
    assert [row.task for row in batches.rows] == ["toy/straight"] * 24 + ["toy/turned"] * 24
    assert batches.epoch(1) == _mixed_batches(batches.lengths, [24, 24], 2.0, 5, 3, 1)


def test_the_checksum_is_that_of_the_rows():
    checksum = _TrainingBatches(toy(), TRAINING).checksum
    assert checksum == _TrainingBatches(toy(), Training(lr=1.0)).checksum
    assert checksum != _TrainingBatches(toy(rows=23), TRAINING).checksum
