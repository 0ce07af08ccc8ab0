"""Answers of several tasks to the same rows: what no adapter changes is computed once for all of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any, NamedTuple

import torch

from hyperadapters._utils import InputError
from hyperadapters.delta import Delta
from hyperadapters.serving.catalogue import ServedTask
from hyperadapters.serving.loaded_adapters import LoadedAdapters
from hyperadapters.training import Encoded, ReusedStates


def by_group(tasks: Sequence[ServedTask]) -> list[list[ServedTask]]:
    """Return tasks whose adapters one backbone computes with at a time, group by group."""
    ordered = sorted(tasks, key=lambda task: task.group)
    return [list(own) for _, own in groupby(ordered, key=lambda task: task.group)]


class _Prepared(NamedTuple):
    """What skips the frozen layers of a group of tasks."""

    delta: Delta
    """The group's; another one may take its place."""
    states: ReusedStates | None
    """None: no layer is frozen."""


class SharedPasses:
    """Answers batches for several tasks at a time.

    Args:
        loaded: the adapters, and what computes.
    """

    def __init__(self, loaded: LoadedAdapters) -> None:
        self._loaded = loaded
        self._groups: dict[str, _Prepared] = {}

    def answer(self, tasks: Sequence[ServedTask], rows: Mapping[str, list[Encoded]]) -> dict[str, list[str]]:
        """Return what tasks of one group answer to the same rows, by their names.

        What other groups train may lie in layers that are skipped for this one.

        Args:
            tasks: open, and of one group.
            rows: one batch, by task: some may have a prefix, or cut texts.
        """
        alike: dict[str, list[ServedTask]] = defaultdict(list)
        for task in tasks:
            alike[repr([row[:4] for row in rows[task.name]])].append(task)
        found: dict[str, list[str]] = {}
        for own in alike.values():
            batch = rows[own[0].name]
            with self._sharing(own[0], batch):
                for task in own:
                    decoding = self._loaded.decoding(task)
                    found[task.name] = self._loaded.answer([task] * len(batch), batch, decoding)
        return found

    def _sharing(self, task: ServedTask, rows: list[Encoded]) -> AbstractContextManager[Any]:
        """Return the context in which frozen layers are skipped for these rows, whose states are computed before."""
        with self._loaded.using(task, 1):  # its adapter is read, and its group put in use
            delta = self._loaded.delta_of(task)
        self._groups = {group: own for group, own in self._groups.items() if self._loaded.has_group(group)}
        known = self._groups.get(task.group)
        if known is None or known.delta is not delta:
            known = self._groups[task.group] = _Prepared(delta, self._prepared(task, delta, rows))
        if known.states is None:
            return nullcontext()
        known.states.share(rows)
        return known.states

    def _prepared(self, task: ServedTask, delta: Delta, rows: list[Encoded]) -> ReusedStates | None:
        states = ReusedStates(
            delta,
            self._loaded.pad(task),
            dtype=torch.float32,
            root=None,
            using=lambda rows: self._loaded.using(task, len(rows)),
        )
        try:
            states.prepare(rows)
        except InputError:
            return None
        return states
