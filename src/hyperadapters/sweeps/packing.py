"""Runs that differ in rate, seed, order or training rows, trained together: one stack of adapters, one pass for all.

Each run keeps a Delta and a `Trainer` of its own: its batches, schedule, clipping, optimizer, best weights, checkpoint.
The tensors of its Delta are entries of the stack, a Delta that holds every run as a task. A pass through the stack
computes rows of many runs, each with its own adapter, and leaves every run its own gradient.
"""

import json
import math
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from torch import Tensor, nn

from hyperadapters._utils import InputError, Interrupted, NonFiniteLossError, files
from hyperadapters.backbones import kind_of, meta_backbone
from hyperadapters.delta import Delta, Method, attach
from hyperadapters.layers import Stream, drawing_from
from hyperadapters.runs import (
    EXPERIMENT,
    RESULT,
    Experiment,
    MixtureTask,
    attach_for,
    backbone_for,
    intervals,
    load_task,
    summarize,
)
from hyperadapters.training import (
    CHECKPOINT,
    Cost,
    Data,
    Encoded,
    Scores,
    Trainer,
    batches_by_length,
    evaluating,
    measure,
    scored,
    stop_at_step_end,
)

ALIKE = (
    "batch_size",
    "accumulation",
    "precision",
    "backbone_precision",
    "adapter_precision",
    "gradient_checkpointing",
    "fast_dropout",
    "compile",
)
"""Settings of training that runs of one pack share; each has its own of all others."""


def packs(experiments: Mapping[str, Experiment], least: int = 1) -> list[list[str]]:
    """The keys of experiments that can be trained together, in packs of two or more.

    They are divided into `least` parts, as even as can be; where that leaves a part one experiment, it is no pack. Runs
    of one seed stay together: their batches are the same, so their rows need no padding to each other.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for key, experiment in sorted(experiments.items(), key=lambda item: item[1].training.seed):
        groups[what_is_shared(experiment)].append(key)
    whole = [keys for keys in groups.values() if len(keys) > 1 and stackable(experiments[keys[0]])]
    parts = math.ceil(least / max(1, len(whole)))
    return [part for keys in whole for part in evenly(keys, parts) if len(part) > 1]


def evenly(keys: list[str], parts: int) -> list[list[str]]:
    """The keys in so many consecutive lists, whose lengths differ by one at most."""
    ends = [len(keys) * part // parts for part in range(parts + 1)]
    return [keys[start:end] for start, end in pairwise(ends)]


def what_is_shared(experiment: Experiment) -> str:
    """As JSON, what must be the same for two runs to be trained together."""
    values = experiment.to_json()
    values["training"] = {name: getattr(experiment.training, name) for name in ALIKE}
    values["text"].pop("train_rows")
    return json.dumps(values, sort_keys=True)


def stackable(experiment: Experiment) -> bool:
    """Whether a run is of one task, begins afresh, and all tensors of its method have the axis of adapters.

    Layers that are computed again in the backward pass would draw their dropout from another run's numbers.
    """
    training = experiment.training
    several = isinstance(experiment.task, MixtureTask) or not experiment.method.many_tasks
    if several or experiment.start or training.compile in (True, "graphs") or training.gradient_checkpointing:
        return False
    try:
        delta = attach(meta_backbone(experiment.backbone), experiment.method, tasks=["0", "1"])
    except InputError:  # the method holds one task alone with these settings, as with the output layer trained
        return False
    return all({*part.trained(delta.backbone), *part.held()} <= {*part.per_adapter()} for _, part in delta.part_items())


@dataclass(eq=False)
class Member:
    """One of the runs of a pack."""

    number: int
    """Its place in the stack."""
    experiment: Experiment
    trainer: Trainer
    generator: torch.Generator
    """Of its dropout on a CPU: in the state that the global one would have if it ran alone."""
    failure: str = ""
    """Why it came to no end."""

    @property
    def name(self) -> str:
        """What the stack calls it."""
        return str(self.number)

    @property
    def data(self) -> Data:
        """Its task."""
        assert isinstance(self.trainer.data, Data)
        return self.trainer.data


class Clock:
    """Seconds of training, of which each run of a pack is said to take its share."""

    def __init__(self) -> None:
        self.seconds = self.last = 0.0

    def __call__(self) -> float:
        return self.seconds

    def start(self) -> None:
        """Work that is shared begins."""
        self.last = time.monotonic()

    def share(self, runs: int) -> None:
        """What has passed since then was for so many runs."""
        self.seconds += (time.monotonic() - self.last) / runs
        self.start()


def start_member(
    number: int, experiment: Experiment, place: Path | None, backbone: nn.Module, data: Data, clock: Clock
) -> Member:
    """A run as it would begin alone, or go on from its checkpoint; its Delta rests, detached."""
    torch.manual_seed(experiment.training.seed)
    delta = attach_for(experiment, backbone, data)
    trainer = Trainer(delta, data, experiment.training, experiment.evaluation, place, quiet=True, clock=clock)
    trainer.begin(resume=True)
    delta.detach()
    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    return Member(number, experiment, trainer, generator)


@torch.no_grad()
def stack_members(backbone: nn.Module, method: Method, members: Sequence[Member]) -> Delta:
    """A Delta in use that holds every member as a task; the tensors of the members' Deltas become its entries."""
    deltas = [member.trainer.delta for member in members]
    with torch.random.fork_rng(devices=[]):
        names = [member.name for member in members]
        held = deltas[0].precision
        stack = attach(backbone, method, "stack", outputs=deltas[0].outputs, tasks=names, precision=held)
    for name, whole in stack.tensors().items():
        for number, delta in enumerate(deltas):
            own = delta.tensors()[name]
            whole[number : number + 1] = own
            own.data = whole.data[number : number + 1]
    return stack


class Piece(NamedTuple):
    """Rows of one run that are computed together."""

    member: Member
    rows: list[Encoded]

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens of a row, all and those of the source, with padding."""
        kind = self.member.trainer.kind
        return kind.padded_tokens(self.rows) // len(self.rows), max(len(row.source) for row in self.rows)


SPREAD = 1.5
"""On a GPU, rows of one pass are padded to so many times their length at most."""

TOKENS = 2048
"""On a CPU, runs share a pass up to so many tokens; it has enough to do then, and memory is nearer."""


def passes(pieces: Sequence[Piece], most: int, *, on_cpu: bool) -> list[list[Piece]]:
    """Pieces in as few passes as pay, at most so many pieces in each.

    On a CPU a pass costs what its tokens cost, so rows of the same shape alone are put together, and each piece draws
    the dropout that it would draw by itself. On a GPU few passes are worth some padding.
    """
    found: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.shape):
        last = found[-1] if found else []
        if last and len(last) < most and (fits_on_cpu if on_cpu else fits_on_gpu)(last, piece):
            last.append(piece)
        else:
            found.append([piece])
    return found


def fits_on_cpu(others: Sequence[Piece], piece: Piece) -> bool:
    """Whether a piece is of the others' shape, and they leave it room."""
    rows = sum(len(one.rows) for one in (*others, piece))
    return piece.shape == others[0].shape and rows * piece.shape[0] <= TOKENS


def fits_on_gpu(others: Sequence[Piece], piece: Piece) -> bool:
    """Whether a piece is not much longer than the shortest of the others."""
    return piece.shape[0] <= SPREAD * others[0].shape[0]


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


@dataclass
class Pack:
    """Runs that are trained together."""

    members: list[Member]
    stack: Delta
    most: int
    """Runs whose batches fit in memory together."""
    clock: Clock
    asked_to_stop: threading.Event = field(default_factory=threading.Event)

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return self.members[0].trainer.device

    def fit(self) -> Generator[list[Member]]:
        """Train every run to its own end; yields those that have ended, with their best weights in place.

        Raises:
            Interrupted: Ctrl-C; all have written a checkpoint.
        """
        live = list(self.members)
        with stop_at_step_end(self.asked_to_stop):
            while live:
                before, live = live, self.advance(live)
                ended = [member for member in before if member not in live]
                for member in ended:
                    member.trainer.end()
                if ended:
                    self.stack.backbone.eval()
                    yield ended

    def advance(self, members: Sequence[Member]) -> list[Member]:
        """One step of each of these runs; those that may have another before them."""
        self.clock.start()
        self.stack.use().backbone.train()
        wanted = {member: member.trainer.next_rows() for member in members}
        batches = {member: rows for member, rows in wanted.items() if rows is not None}
        if batches:
            self.step(batches)
        return [member for member in batches if not member.failure]

    def step(self, batches: Mapping[Member, list[Encoded]]) -> None:
        """One update of each run from its batch; then evaluations and checkpoints of those whose time it is."""
        for member, loss in self.gradients(batches).items():
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
            if member in scores:
                member.trainer.record(scores[member])
            elif stop or member.trainer.checkpoint_is_old():
                member.trainer.checkpoint()
        self.clock.share(len(batches))
        if stop:
            raise Interrupted

    def gradients(self, batches: Mapping[Member, list[Encoded]]) -> dict[Member, float]:
        """Give each run's tensors the gradient of the mean loss of its batch; the losses."""
        whole = self.stack.trained()
        for tensor in whole.values():
            tensor.grad = None
        losses = dict.fromkeys(batches, 0.0)
        for pieces in self.parts(batches):
            targets = [sum(len(row.target) for row in batches[piece.member]) for piece in pieces]
            found = self.summed_losses(pieces) / torch.tensor(targets, device=self.device)
            found.sum().backward()  # type: ignore[no-untyped-call]
            for piece, loss in zip(pieces, found.tolist(), strict=True):
                losses[piece.member] += loss
        for member in batches:
            for name, tensor in member.trainer.trained.items():
                gradient = whole[name].grad
                tensor.grad = None if gradient is None else gradient[member.number : member.number + 1]
        return losses

    def parts(self, batches: Mapping[Member, list[Encoded]]) -> Iterator[list[Piece]]:
        """The passes that compute these batches, each batch in as many parts as `training.accumulation` says."""
        accumulation = self.members[0].experiment.training.accumulation
        for number in range(accumulation):
            pieces = []
            for member, rows in batches.items():
                size = math.ceil(len(rows) / accumulation)
                if part := rows[number * size : (number + 1) * size]:
                    pieces.append(Piece(member, part))
            yield from passes(pieces, self.most, on_cpu=self.device.type == "cpu")

    def summed_losses(self, pieces: Sequence[Piece]) -> Tensor:
        """Each piece's loss, summed over its rows, from one pass."""
        first, backbone = self.members[0].trainer, self.stack.backbone
        rows = [row for piece in pieces for row in piece.rows]
        bf16 = first.training.precision == "bf16"
        with (
            self.stack.rows([piece.member.name for piece in pieces for _ in piece.rows]),
            drawing_from([Stream(len(piece.rows), piece.member.generator) for piece in pieces]),
            torch.autocast(self.device.type, torch.bfloat16, enabled=bf16),
        ):
            each = first.kind.losses(backbone, backbone, rows, first.pad)
        parts = torch.split(each, [len(piece.rows) for piece in pieces])
        return torch.stack([part.sum() for part in parts])

    def evaluate(self, members: Sequence[Member], split: str) -> dict[Member, Scores]:
        """The scores of some runs on one split, which is the same for all, from passes that compute all of them."""
        start, rows, kind = time.perf_counter(), members[0].data.splits[split], members[0].trainer.kind
        found = [[""] * len(rows) for _ in members]
        with evaluating(self.stack.backbone):
            for numbers in batches_by_length([kind.length(row) for row in rows], self.evaluated_together(members)):
                texts = iter(self.answers(members, [rows[i] for i in numbers]))
                for own in found:
                    for i in numbers:
                        own[i] = next(texts)
        seconds, evaluation = (time.perf_counter() - start) / len(members), members[0].experiment.evaluation
        return {
            member: scored(member.data, split, own, evaluation, seconds)
            for member, own in zip(members, found, strict=True)
        }

    def answers(self, members: Sequence[Member], rows: Sequence[Encoded]) -> list[str]:
        """The answers of the first of the runs to these rows, then those of the next, from one pass."""
        data, evaluation, kind = members[0].data, members[0].experiment.evaluation, members[0].trainer.kind
        count, mode = len(members) * len(rows), kind.mode(data.form, evaluation.decode)
        with self.stack.rows([member.name for member in members for _ in rows]):
            return kind.answer(
                self.stack.backbone,
                [*rows] * len(members),
                [data.form] * count,
                data.tokenizer,
                mode,
                data.text.target_length,
                evaluation.beams,
            )

    def evaluated_together(self, members: Sequence[Member]) -> int:
        """Rows of a split in one pass, each once for every one of these runs.

        On a CPU as many rows in all as an evaluation takes, elsewhere at least as many as a training step.
        """
        most = members[0].experiment.evaluation.batch_size
        if self.device.type != "cpu":
            most = max(most, min(self.most, len(members)) * members[0].experiment.training.batch_size)
        return max(1, most // len(members))


def run_together(experiments: Mapping[Path, Experiment]) -> dict[Path, str]:
    """Run experiments out of one of `packs`, each in its own folder, new or begun; every one ends as `run` would.

    Returns why those that failed did, by folder. A result is written as soon as its run has ended.

    Raises:
        InputError: something given is wrong.
        Interrupted: Ctrl-C; checkpoints were written.
    """
    first = next(iter(experiments.values()))
    backbone, tokenizer = backbone_for(first)
    clock, kind = Clock(), kind_of(backbone.config)
    read: dict[tuple[int | None, int], Data] = {}
    members: list[Member] = []
    costs = Costs()
    for place, experiment in experiments.items():
        rows = experiment.text.train_rows
        which = (rows, experiment.training.seed if rows else 0)
        if which not in read:
            loaded = load_task(experiment, tokenizer, kind)
            assert isinstance(loaded, Data)
            read[which] = loaded
        files.make_output(place)
        files.write_json(place / EXPERIMENT, experiment.to_json())
        members.append(start_member(len(members), experiment, place, backbone, read[which], clock))
    stack = stack_members(backbone, first.method, members)
    kept = costs.of(members[0]).saved_activations
    most = max(1, free_memory(members[0].trainer.device) // (2 * max(1, kept)))
    pack = Pack(members, stack, most, clock)
    with closing(pack.fit()) as ends:
        for ended in ends:
            conclude(pack, [member for member in ended if not member.failure], costs)
    return {place: member.failure for place, member in zip(experiments, members, strict=True) if member.failure}


class Costs:
    """What a training step costs, measured once for all runs whose longest rows are of one shape."""

    def __init__(self) -> None:
        self.found: dict[tuple[tuple[int, int], ...], Cost] = {}

    def of(self, member: Member) -> Cost:
        """The cost of a run's step, as `measure` finds it."""
        size, rows = member.experiment.training.batch_size, member.trainer.rows
        longest = batches_by_length(member.trainer.lengths, size)[0]
        shape = tuple((len(rows[i].source), len(rows[i].target)) for i in longest)
        if shape not in self.found:
            precision = member.experiment.training.precision
            delta = member.trainer.delta.use()
            self.found[shape] = measure(delta, member.data, batch_size=size, precision=precision)
            delta.detach()
        return self.found[shape]


def conclude(pack: Pack, members: Sequence[Member], costs: Costs) -> None:
    """Test runs that have ended, and write what `run` writes."""
    if not members:
        return
    splits = [split for split in members[0].data.splits if split != "train"]
    scores = {split: pack.evaluate(members, split) for split in splits}
    for member in members:
        own = {split: found[member] for split, found in scores.items()}
        delta, data, place = member.trainer.delta, member.data, member.trainer.output
        assert place is not None
        result = summarize(member.experiment, delta, member.trainer.end(), own, costs.of(member), data)
        found = intervals(data, result.split, own[result.split])
        result = replace(result, intervals=found, together=len(pack.members))
        delta.about["scores"] = result.metrics
        delta.save(place)
        files.write_json(place / RESULT, asdict(result))
        (place / CHECKPOINT).unlink(missing_ok=True)
