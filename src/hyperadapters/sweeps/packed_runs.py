"""A pack from its experiments to their results."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from torch import nn

from hyperadapters._utils import make_output, write_json
from hyperadapters.runs import (
    EXPERIMENT,
    Experiment,
    backbone_for,
    finish_run,
    load_task,
    record_standing,
    with_checksums,
    with_labels,
)
from hyperadapters.sweeps.pack import Pack, free_memory
from hyperadapters.sweeps.pack_members import Clock, Member, stack_members, start_member
from hyperadapters.training import Cost, Data, batches_by_length, measure


def _run_together(
    experiments: Mapping[Path, Experiment], until: float = 0.0, states: Path | None = None
) -> dict[Path, str]:
    """Run experiments of one of `packs`, each in its own folder; every one ends as `run` would end it.

    A result is written as soon as its run has ended.

    Args:
        experiments: by folder, which is new or holds the checkpoint of this run.
        until: pause each after this share of its steps; 0: train to the end.
        states: as for `run`; None: they stay in memory.

    Returns:
        By folder, why runs failed; only those that did.

    Raises:
        InputError: something given is wrong.
        Interrupted: Ctrl-C; checkpoints were written.
    """
    experiments = {output: with_checksums(experiment) for output, experiment in experiments.items()}
    first = next(iter(experiments.values()))
    backbone, tokenizer = backbone_for(first)
    clock = Clock()
    costs, data = Costs(), _SharedData(tokenizer, backbone)
    members: list[Member] = []
    for output, experiment in experiments.items():
        rows = data.of(experiment)
        experiment = with_labels(experiment, rows)  # noqa: PLW2901
        members.append(start_member(len(members), experiment, output, backbone, rows, clock))
        if until:
            members[-1].trainer.pause_at(until)
    for member, output in zip(members, experiments, strict=True):  # all are right
        make_output(output)
        write_json(output / EXPERIMENT, member.experiment.to_json())
    stack = stack_members(backbone, first.method, members)
    kept = costs.of(members[0]).saved_activations
    most = max(1, free_memory(members[0].trainer.device) // (2 * max(1, kept)))
    pack = Pack(members, stack, most, clock, states)
    with closing(pack.fit()) as ends:
        for ended in ends:
            for member in ended:
                if member.trainer.standing and member.trainer.output:
                    record_standing(member.trainer.output, until, member.trainer.standing)
            over = [member for member in ended if not member.failure and not member.trainer.standing]
            _finish_members(pack, over, costs)
    return {output: member.failure for output, member in zip(experiments, members, strict=True) if member.failure}


class _SharedData:
    """The rows of a pack's task, loaded once for all runs that train on the same rows."""

    def __init__(self, tokenizer: Any, backbone: nn.Module) -> None:
        self._tokenizer, self._backbone = tokenizer, backbone
        self._loaded: dict[tuple[int | None, int], Data] = {}

    def of(self, experiment: Experiment) -> Data:
        """Return the rows of one run."""
        rows = experiment.text.train_rows
        which = (rows, experiment.training.seed if rows else 0)
        if which not in self._loaded:
            data = load_task(experiment, self._tokenizer, self._backbone)
            assert isinstance(data, Data)
            self._loaded[which] = data
        return self._loaded[which]


class Costs:
    """What a training step costs, measured once for all runs whose longest rows are of one shape."""

    def __init__(self) -> None:
        self.found: dict[tuple[tuple[int, int], ...], Cost] = {}

    def of(self, member: Member) -> Cost:
        """Return the cost of a run's step, as `measure` finds it."""
        size, batches = member.experiment.training.batch_size, member.trainer.batches
        longest = [batches.rows[i] for i in batches_by_length(batches.lengths, size)[0]]
        shape = tuple((len(row.source), len(row.target)) for row in longest)
        if shape not in self.found:
            precision = member.experiment.training.precision
            delta = member.trainer.delta.use()
            self.found[shape] = measure(delta, member.data, batch_size=size, precision=precision)
            delta.detach()
        return self.found[shape]


def _finish_members(pack: Pack, members: Sequence[Member], costs: Costs) -> None:
    """Score runs that have ended, once on each split, and write what `run` writes."""
    if not members:
        return
    splits = [split for split in members[0].data.splits if split != "train"]
    scores = {split: pack.evaluate(members, split) for split in splits}
    for member in members:
        own = {split: found[member] for split, found in scores.items()}
        delta, data, output = member.trainer.delta, member.data, member.trainer.output
        assert output is not None
        cost, together = costs.of(member), len(pack.members)
        finish_run(member.experiment, delta, data, output, member.trainer.end(), own, cost, together=together)
