"""The training rows of a run, and which of them make each batch of each epoch."""

import hashlib
import json
import zlib
from collections import Counter
from functools import cached_property

from hyperadapters.training.batching import _mixed_batches, epoch_batches
from hyperadapters.training.class_weights import _balanced
from hyperadapters.training.config import Training
from hyperadapters.training.data import Data, Mixture, tasks_of, training_rows
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.encodings import ENCODINGS


class _TrainingBatches:
    """The training rows of all tasks of a run, in batches that depend on the rows, the seed and the epoch alone."""

    def __init__(self, data: Data | Mixture, training: Training) -> None:
        rows = training_rows(data)
        self.rows = _balanced(rows) if training.class_weights == "balanced" else rows
        encoding = ENCODINGS[tasks_of(data)[0].kind]
        self.lengths = [encoding.length(row) for row in self.rows]
        self._data, self._training = data, training
        self._planned: tuple[int, list[list[int]]] | None = None
        """The epoch asked for last, and its batches."""

    def epoch(self, epoch: int) -> list[list[int]]:
        """Return an epoch's batches, each as numbers of rows."""
        if self._planned is None or self._planned[0] != epoch:
            self._planned = epoch, self._plan(epoch)
        return self._planned[1]

    def _plan(self, epoch: int) -> list[list[int]]:
        order = (self._training.batch_size, self._training.seed, epoch)
        if isinstance(self._data, Data):
            return epoch_batches(self.lengths, *order)
        rows_of = Counter(row.task for row in self.rows)
        sizes = [rows_of[task.form.name] for task in self._data.tasks]
        return _mixed_batches(self.lengths, sizes, self._data.temperature, *order)

    def batch(self, epoch: int, number: int) -> list[Encoded]:
        """Return the rows of one batch of an epoch."""
        return [self.rows[i] for i in self.epoch(epoch)[number]]

    def longest(self, epoch: int) -> list[int]:
        """Return the length in tokens of the longest row of each batch of an epoch."""
        return [max(self.lengths[i] for i in numbers) for numbers in self.epoch(epoch)]

    @cached_property
    def checksum(self) -> int:
        """CRC-32 of the training rows."""
        return zlib.crc32(json.dumps(self.rows).encode())

    @cached_property
    def validation_checksum(self) -> str:
        """SHA-256 of the rows, and of what their answers are compared with, that choose the best weights."""
        rows = [[task.splits.get("validation"), task.references.get("validation")] for task in tasks_of(self._data)]
        return hashlib.sha256(json.dumps(rows, default=repr).encode()).hexdigest()
