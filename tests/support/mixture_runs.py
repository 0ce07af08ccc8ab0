"""Training on a mixture of toy tasks."""

from dataclasses import replace

import torch
from training_runs import toy

from conftest import make_tiny
from hyperadapters import METHODS, Mixture, attach, fit


def mixture(temperature=10.0):
    """The toy task, and the same with its answers the other way round: one set of weights cannot do both."""
    one = toy()
    turned = {"0": "1", "1": "0"}
    flip = {10: 11, 11: 10}
    splits = {s: [row._replace(target=[flip[row.target[0]], 1]) for row in rows] for s, rows in one.splits.items()}
    target = one.form.target
    references = {s: [1 - r if isinstance(r, int) else turned[r] for r in rs] for s, rs in one.references.items()}
    other = replace(one, form=replace(one.form, name="toy/turned", target=target), splits=splits, references=references)
    return Mixture((replace(one, form=replace(one.form, name="toy/straight")), other), temperature)


def trained(name, training, **options):
    torch.manual_seed(0)
    delta = attach(make_tiny(), METHODS[name], tasks=["toy/straight", "toy/turned"])
    return delta, fit(delta, mixture(), training, quiet=True, **options)
