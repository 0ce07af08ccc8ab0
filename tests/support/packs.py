"""Packs of short runs on the toy task, and the same runs each by itself."""

from dataclasses import replace

import pytest
import torch
from training_runs import same

from conftest import make_tiny
from hyperadapters import METHODS, Experiment, NamedTask, Training, fit, set_fast_dropout
from hyperadapters.runs.building import attach_for
from hyperadapters.sweeps.pack import Pack
from hyperadapters.sweeps.pack_members import Clock, stack_members, start_member
from hyperadapters.training.data import Data

CLOSE = {"rtol": 0, "atol": 1e-5}

VARIED = [
    {"lr": 1e-2},
    {"seed": 7, "weight_decay": 0.1},
    {"lr": 3e-2, "seed": 8, "warmup_steps": 4, "max_grad_norm": 0.1},
    {"lr": 1e-12, "epochs": 9, "evaluate_steps": 2, "patience": 1},
]


def experiment(method="compacter++", **changes):
    training = Training(**{"lr": 3e-3, "epochs": 2, "batch_size": 8, "seed": 3, **changes})
    chosen = METHODS[method] if isinstance(method, str) else method
    return Experiment(method=chosen, task=NamedTask(name="glue/rte"), training=training)


def rows_of(data: Data, experiment) -> Data:
    """The run's own training rows: a subset for a seed of its own, so batches differ in length and number."""
    train = data.splits["train"]
    count = {7: 11, 8: 17}.get(experiment.training.seed, len(train))
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(experiment.training.seed)).tolist()
    return replace(data, splits={**data.splits, "train": [train[i] for i in order[:count]]})


def alone(backbone, experiment, data):
    torch.manual_seed(experiment.training.seed)
    delta = attach_for(experiment, backbone, data)
    return delta, fit(delta, data, experiment.training, evaluation=experiment.evaluation, quiet=True)


def pack_of(backbone, experiments, data, folder, most=1000):
    clock = Clock()
    members = [
        start_member(number, one, folder / str(number), backbone, rows_of(data, one), clock)
        for number, one in enumerate(experiments)
    ]
    return Pack(members, stack_members(backbone, experiments[0].method, members), most, clock)


def trained(pack):
    """What every member's training did, by its number."""
    return {member.number: member.trainer.end() for ended in pack.fit() for member in ended}


def ends_as_alone(pack, found, make, data):
    """Whether every run that has ended holds the tensors, and has the history, of the same run by itself."""
    for member in pack.members:
        if member.failure:
            continue
        delta, expected = alone(make(), member.experiment, rows_of(data, member.experiment))
        same(delta, member.trainer.delta, **CLOSE)
        same_history(found[member.number], expected)


def same_history(ours, theirs):
    for one, other in zip(ours.history, theirs.history, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert (ours.best_step, ours.tokens, ours.padded_tokens) == (theirs.best_step, theirs.tokens, theirs.padded_tokens)


def with_dropout():
    backbone = make_tiny(dropout_rate=0.1)
    set_fast_dropout(backbone, True)
    return backbone
