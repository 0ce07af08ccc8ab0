"""Rows of many tasks in batches: which of them can be computed together."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from hyperadapters.backbones import device_of
from hyperadapters.serving.catalogue import ServedTask
from hyperadapters.serving.loaded_adapters import LoadedAdapters
from hyperadapters.training import Decoding, Encoded, answer_batches


class _Batch(NamedTuple):
    """Rows that are computed together: their adapters can be mixed, and their answers are obtained alike."""

    group: str
    decoding: Decoding
    numbers: list[int]
    """Of the rows."""


def _plan_batches(
    tasks: Sequence[ServedTask], rows: Sequence[Encoded], loaded: LoadedAdapters, batch_size: int
) -> list[_Batch]:
    """Return batches of rows of like length, each of no more tasks than a pool has slots.

    Args:
        tasks: the task of each row.
        rows: the rows in tokens.
        loaded: what computes them.
        batch_size: rows of a batch at most.
    """
    together: dict[tuple[str, Decoding], list[int]] = defaultdict(list)
    for i, task in enumerate(tasks):
        together[task.group, loaded.decoding(task)].append(i)
    found = []
    for (group, decoding), numbers in together.items():
        delta = loaded.delta_of(tasks[numbers[0]])
        size, slots = batch_size, delta.slots
        if slots and len({tasks[i].name for i in numbers}) > slots:
            size = min(size, slots)
        lengths = [loaded.length(tasks[i], rows[i]) for i in numbers]
        for batch in answer_batches(lengths, size, decoding.mode, device_of(delta.backbone)):
            found.append(_Batch(group, decoding, [numbers[i] for i in batch]))
    return found
