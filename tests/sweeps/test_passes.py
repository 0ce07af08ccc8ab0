"""Which rows of the runs of a pack share a pass."""

import torch
from packs import experiment
from training_runs import toy

from conftest import make_tiny
from hyperadapters import METHODS, Evaluation, Training, attach
from hyperadapters.sweeps.pack_members import Member
from hyperadapters.sweeps.passes import _TOKENS, _MemberRows, _plan_passes
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.trainer import Trainer


def rows_of_members(*lengths):
    data = toy()
    trainer = Trainer(attach(make_tiny(), METHODS["norms"]), data, Training(lr=1), Evaluation(), None, quiet=True)
    member = Member(0, experiment(), trainer, torch.Generator())
    return [_MemberRows(member, [Encoded([5] * length, [10, 1])] * 2) for length in lengths]


def lengths_of(found):
    return [[rows.shape[1] for rows in own] for own in found]


def test_a_pass_holds_rows_of_like_length_as_many_as_fit():
    rows = rows_of_members(30, 8, 20, 8, 21, 8)
    assert lengths_of(_plan_passes(rows, 10, on_cpu=True)) == [[8, 8, 8], [20], [21], [30]]
    assert lengths_of(_plan_passes(rows, 2, on_cpu=True)) == [[8, 8], [8], [20], [21], [30]]
    assert lengths_of(_plan_passes(rows, 10, on_cpu=False)) == [[8, 8, 8], [20, 21, 30]]


def test_on_a_cpu_a_pass_has_a_limit_of_tokens():
    rows = rows_of_members(*[_TOKENS // 4 - 2] * 5)  # each of two rows, with two tokens of target
    assert [len(found) for found in _plan_passes(rows, 10, on_cpu=True)] == [2, 2, 1]
    assert [len(found) for found in _plan_passes(rows, 10, on_cpu=False)] == [5]
