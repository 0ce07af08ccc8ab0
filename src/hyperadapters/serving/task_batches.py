"""Rows of many tasks in batches: which of them can be computed together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hyperadapters.delta import Delta
from hyperadapters.serving.saved_tasks import _AdapterPlace
from hyperadapters.tasks import TaskFormat
from hyperadapters.training import ENCODINGS, Decoding, Encoded, Evaluation, Text, batches_by_length


@dataclass(frozen=True)
class _ServedTask:
    """A task that rows name, and how it is answered."""

    name: str
    """Among the adapters that one batch can mix; empty where there is only one."""
    group: str
    """The adapters that one batch can mix: of one method, or in one folder."""
    pooled: bool
    """Whether the group is a pool, and not the tasks of one Delta."""
    place: _AdapterPlace
    form: TaskFormat
    text: Text
    evaluation: Evaluation
    precision: str
    """The type in which its backbone is kept."""


class _Batch(NamedTuple):
    """Rows that are computed together: their adapters can be mixed, and their answers are obtained alike."""

    group: str
    decoding: Decoding
    numbers: list[int]
    """Of the rows."""


def _plan_batches(
    tasks: Sequence[_ServedTask], rows: Sequence[Encoded], deltas: Mapping[str, Delta], batch_size: int
) -> list[_Batch]:
    """Return batches of rows of like length, each of no more tasks than a pool has slots.

    Args:
        tasks: the task of each row.
        rows: the rows in tokens.
        deltas: what computes each group of adapters.
        batch_size: rows of a batch at most.
    """
    together: dict[tuple[str, Decoding], list[int]] = defaultdict(list)
    for i, task in enumerate(tasks):
        encoding = ENCODINGS[deltas[task.group].structure.kind]
        together[task.group, encoding.decoding(task.form, task.text.target_length, task.evaluation)].append(i)
    found = []
    for (group, decoding), numbers in together.items():
        delta, size = deltas[group], batch_size
        if delta.slots and len({tasks[i].name for i in numbers}) > delta.slots:
            size = min(size, delta.slots)
        lengths = [ENCODINGS[delta.structure.kind].length(rows[i]) for i in numbers]
        for batch in batches_by_length(lengths, size):
            found.append(_Batch(group, decoding, [numbers[i] for i in batch]))
    return found
