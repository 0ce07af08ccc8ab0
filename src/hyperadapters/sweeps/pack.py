"""Runs trained together: one stack of adapters, one pass for all.

Each run keeps a Delta and a `Trainer` of its own: its batches, schedule, clipping, optimizer, best weights, checkpoint.
The tensors of its Delta are entries of the stack, a Delta that holds every run as a task. A pass through the stack
computes rows of many runs, each with its own adapter, and leaves every run its own gradient.
"""

import math
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from hyperadapters._utils import Interrupted, NonFiniteLossError
from hyperadapters.delta import Delta
from hyperadapters.layers import Stream, drawing_from
from hyperadapters.sweeps.pack_members import Clock, Member
from hyperadapters.sweeps.passes import _MemberRows, _plan_passes
from hyperadapters.training import (
    Encoded,
    Scores,
    batches_by_length,
    evaluating,
    in_row_order,
    reusing_states,
    score_answers,
    stop_at_step_end,
    training_backbone,
    weight_losses,
)


def free_memory(device: torch.device) -> int:
    """Return the bytes of memory that are free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


@dataclass
class Pack:
    """Runs that are trained together."""

    members: list[Member]
    stack: Delta
    most: int
    """How many runs' batches fit in memory together."""
    clock: Clock
    states: Path | None = None
    """The folder in which states of frozen layers are kept; None: they stay in memory."""
    asked_to_stop: threading.Event = field(default_factory=threading.Event)

    @property
    def device(self) -> torch.device:
        """The device of the backbone."""
        return self.members[0].trainer.device

    def fit(self) -> Generator[list[Member]]:
        """Train every run to its own end, and yield those that have ended, with their best weights in place.

        Raises:
            Interrupted: Ctrl-C; all have written a checkpoint.
        """
        live = list(self.members)
        first = self.members[0].experiment.training
        with (
            training_backbone(self.stack.backbone, first),
            self._reusing_states(),
            stop_at_step_end(self.asked_to_stop),
        ):
            while live:
                before, live = live, self.advance(live)
                ended = [member for member in before if member not in live]
                self._pause([member for member in ended if member.trainer.pause_due and not member.failure])
                for member in ended:
                    member.trainer.end()
                if ended:
                    self.stack.backbone.eval()
                    yield ended

    def _reusing_states(self) -> AbstractContextManager[Any]:
        """Return the context in which frozen layers are skipped, if the runs' `training.reuse` says so."""
        first = self.members[0].trainer
        named = [(member.name, member.trainer.rows_to_come()) for member in self.members]
        rows = [row._replace(task=name) for name, own in named for row in own]
        self.stack.use()
        return reusing_states(self.stack, first.training, first.pad, rows, first.answered, self.states, quiet=True)

    def _pause(self, members: Sequence[Member]) -> None:
        """Score runs that are to pause on the validation split, and let each write a checkpoint."""
        scores = self.evaluate(members, "validation") if members else {}
        for member, found in scores.items():
            torch.set_rng_state(member.generator.get_state())
            member.trainer.pause(found)

    def advance(self, members: Sequence[Member]) -> list[Member]:
        """Make one step of each of these runs; return those that may have another to make."""
        self.clock.start()
        self.stack.use().backbone.train()
        wanted = {member: member.trainer.next_rows() for member in members}
        batches = {member: rows for member, rows in wanted.items() if rows is not None}
        if batches:
            self.step(batches)
        return [member for member in batches if not member.failure]

    def step(self, batches: Mapping[Member, list[Encoded]]) -> None:
        """Make one update of each run from its batch, then the evaluations and checkpoints that are due."""
        for member, loss in self._gradients(batches).items():
            try:
                member.trainer.update(batches[member], loss)
            except NonFiniteLossError as error:
                member.failure = str(error)
        live = [member for member in batches if not member.failure]
        due = [member for member in live if member.trainer.evaluation_due()]
        scores = self.evaluate(due, "validation") if due else {}
        self.clock.share(len(batches))
        stop = self.asked_to_stop.is_set()
        for member in live:
            torch.set_rng_state(member.generator.get_state())  # a checkpoint holds the global generator's
            try:
                if member in scores:
                    member.trainer.record(scores[member])
                elif stop or member.trainer.checkpoint_is_old():
                    member.trainer.checkpoint()
            except NonFiniteLossError as error:
                member.failure = str(error)
        self.clock.share(len(batches))
        if stop:
            raise Interrupted

    def _gradients(self, batches: Mapping[Member, list[Encoded]]) -> dict[Member, float]:
        """Give each run's tensors the gradient of the mean loss of its batch, and return the losses."""
        whole = self.stack.trained()
        for tensor in whole.values():
            tensor.grad = None
        losses = dict.fromkeys(batches, 0.0)
        for parts in self._passes(batches):
            targets = [sum(len(row.target) for row in batches[part.member]) for part in parts]
            found = self._summed_losses(parts) / torch.tensor(targets, device=self.device)
            found.sum().backward()  # type: ignore[no-untyped-call]
            for part, loss in zip(parts, found.tolist(), strict=True):
                losses[part.member] += loss
        for member in batches:
            for name, tensor in member.trainer.trained.items():
                gradient = whole[name].grad
                tensor.grad = None if gradient is None else gradient[member.number : member.number + 1]
        return losses

    def _passes(self, batches: Mapping[Member, list[Encoded]]) -> Iterator[list[_MemberRows]]:
        """Yield the passes that compute these batches, each batch in as many parts as `training.accumulation` says."""
        accumulation = self.members[0].experiment.training.accumulation
        for number in range(accumulation):
            parts = []
            for member, rows in batches.items():
                size = math.ceil(len(rows) / accumulation)
                if accumulated := rows[number * size : (number + 1) * size]:
                    parts.append(_MemberRows(member, accumulated))
            yield from _plan_passes(parts, self.most, on_cpu=self.device.type == "cpu")

    def _summed_losses(self, parts: Sequence[_MemberRows]) -> Float[Tensor, " runs"]:
        """Return each run's loss, summed over its rows, from one pass."""
        first, backbone = self.members[0].trainer, self.stack.backbone
        rows = [row for part in parts for row in part.rows]
        bf16 = first.training.precision == "bf16"
        with (
            self.stack.rows([part.member.name for part in parts for _ in part.rows]),
            drawing_from([Stream(len(part.rows), part.member.generator) for part in parts]),
            torch.autocast(self.device.type, torch.bfloat16, enabled=bf16),
        ):
            smoothing = first.training.label_smoothing
            losses = first.encoding.losses(backbone, backbone, rows, first.pad, smoothing)
        by_run = torch.split(weight_losses(losses, rows), [len(part.rows) for part in parts])
        return torch.stack([own.sum() for own in by_run])

    def evaluate(self, members: Sequence[Member], split: str) -> dict[Member, Scores]:
        """Return the scores of some runs on one split, which is the same for all, from passes that compute all."""
        start, rows, encoding = time.perf_counter(), members[0].data.splits[split], members[0].trainer.encoding
        batches = batches_by_length([encoding.length(row) for row in rows], self._evaluated_together(members))
        with evaluating(self.stack.backbone):
            answered = [(numbers, self._answers(members, [rows[i] for i in numbers])) for numbers in batches]
        seconds, evaluation = (time.perf_counter() - start) / len(members), members[0].experiment.evaluation
        found = {}
        for place, member in enumerate(members):
            own = [(numbers, texts[place * len(numbers) : (place + 1) * len(numbers)]) for numbers, texts in answered]
            found[member] = score_answers(member.data, split, in_row_order(own), evaluation, seconds)
        return found

    def _answers(self, members: Sequence[Member], rows: Sequence[Encoded]) -> list[str]:
        """Return the answers of the first of the runs to these rows, then those of the next, from one pass."""
        data, encoding = members[0].data, members[0].trainer.encoding
        decoding = encoding.decoding(data.form, data.text.target_length, members[0].experiment.evaluation)
        repeated = [*rows] * len(members)
        with self.stack.rows([member.name for member in members for _ in rows]) as backbone:
            return encoding.answer(backbone, repeated, [data.form] * len(repeated), data.tokenizer, decoding)

    def _evaluated_together(self, members: Sequence[Member]) -> int:
        """Return how many rows of a split to answer in one pass, each once for every one of these runs.

        On a CPU as many rows in all as an evaluation takes, elsewhere at least as many as a training step.
        """
        most = members[0].experiment.evaluation.batch_size
        if self.device.type != "cpu":
            most = max(most, min(self.most, len(members)) * members[0].experiment.training.batch_size)
        return max(1, most // len(members))
