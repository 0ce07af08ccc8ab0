"""The runs of a pack: each with a Delta and a `Trainer` of its own, whose tensors are entries of one stack."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hyperadapters.delta import Delta, Method
from hyperadapters.methods import attach
from hyperadapters.runs import Experiment, attach_for
from hyperadapters.training import Data, Trainer, check_fit, check_metric


@dataclass(eq=False)
class Member:
    """One of the runs of a pack."""

    number: int
    """Its place in the stack."""
    experiment: Experiment
    trainer: Trainer
    generator: torch.Generator
    """Draws its dropout on a CPU; in the state that the global generator would have if the run were alone."""
    failure: str = ""
    """Why it failed; empty: it did not."""

    @property
    def name(self) -> str:
        """Its name in the stack."""
        return str(self.number)

    @property
    def data(self) -> Data:
        """The rows of its task."""
        assert isinstance(self.trainer.data, Data)
        return self.trainer.data


class Clock:
    """Seconds of training, shared out equally among the runs of a pack."""

    def __init__(self) -> None:
        self.seconds = self.last = 0.0

    def __call__(self) -> float:
        return self.seconds

    def start(self) -> None:
        """Begin to measure work that is shared."""
        self.last = time.monotonic()

    def share(self, runs: int) -> None:
        """Count the time since then as shared by `runs` runs."""
        self.seconds += (time.monotonic() - self.last) / runs
        self.start()


def start_member(
    number: int, experiment: Experiment, output: Path | None, backbone: nn.Module, data: Data, clock: Clock
) -> Member:
    """Return a run as it would start alone, or continue from its checkpoint; its Delta is detached.

    Args:
        number: its place in the stack.
        experiment: what to run.
        output: its folder, or None.
        backbone: of the whole pack.
        data: the rows of its task.
        clock: counts its share of the seconds.

    Raises:
        InputError: something given is wrong, as `run` finds it.
    """
    torch.manual_seed(experiment.training.seed)
    delta = attach_for(experiment, backbone, data)
    check_fit(delta, data, experiment.training)
    check_metric(data, experiment.evaluation)
    trainer = Trainer(delta, data, experiment.training, experiment.evaluation, output, quiet=True, clock=clock)
    trainer.begin(resume=True)
    delta.detach()
    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    return Member(number, experiment, trainer, generator)


@torch.no_grad()
def stack_members(backbone: nn.Module, method: Method, members: Sequence[Member]) -> Delta:
    """Return a Delta in use that holds every member as a task; its entries are the tensors of the members' Deltas."""
    deltas = [member.trainer.delta for member in members]
    with torch.random.fork_rng(devices=[]):
        names = [member.name for member in members]
        first = deltas[0]
        stack = attach(
            backbone,
            method,
            "stack",
            outputs=first.outputs,
            pooling=first.structure.pooling,
            tasks=names,
            precision=first.precision,
        )
    for name, whole in stack.tensors().items():
        for number, delta in enumerate(deltas):
            own = delta.tensors()[name]
            whole[number : number + 1] = own
            own.data = whole.data[number : number + 1]
    return stack
