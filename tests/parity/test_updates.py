"""Five steps of `fit` against a plain loop over the equations, with torch's AdamW and transformers' schedule."""

import pytest
import torch
from measuring import agreement, float64_throughout  # noqa: F401 (fixtures)
from references import REFERENCES, Given
from torch import Tensor
from training_runs import toy
from transformers import get_linear_schedule_with_warmup

from conftest import make_tiny
from hyperadapters import METHODS, Training, attach, fit

pytestmark = pytest.mark.usefixtures("float64")

ROWS, STEPS, WARMUP = 12, 5, 2
RATES = {"houlsby": 3e-3, "compacter++": 1e-2}


def one_batch() -> dict[str, Tensor]:
    """The toy task's sources, padded, their mask, and the targets, which are all of one length."""
    rows = toy(ROWS).splits["train"]
    longest = max(len(row.source) for row in rows)
    ids = torch.tensor([row.source + [0] * (longest - len(row.source)) for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": torch.tensor([row.target for row in rows])}


def smoothed_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """The mean over target tokens of (1 − ε)·−log p(y) + ε·(the mean over the vocabulary of −log p)."""
    log_p = logits - logits.exp().sum(-1, keepdim=True).log()
    chosen = log_p.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return -((1 - smoothing) * chosen + smoothing * log_p.mean(-1)).mean()


@pytest.mark.parametrize(("smoothing", "accumulation"), [(0.0, 1), (0.0, 3), (0.1, 1)])
@pytest.mark.parametrize("preset", RATES)
def test_five_steps_of_fit_are_those_of_a_plain_loop(preset, smoothing, accumulation, agree):
    """All rows are one batch. With a warm-up the first step changes nothing; gradients are clipped to a norm of 1."""
    backbone = make_tiny()
    base = {path: tensor.detach().double() for path, tensor in backbone.named_parameters()}
    delta = attach(backbone, METHODS[preset])
    backbone.double()
    with torch.no_grad():
        for tensor in delta.trained().values():
            tensor.add_(0.2 * torch.randn_like(tensor))
    before = {name: tensor.detach().clone() for name, tensor in delta.trained().items()}
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in before.items()}

    optimizer = torch.optim.AdamW(leaves.values(), lr=RATES[preset], betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
    batch, lengths = one_batch(), []
    for step in range(STEPS):
        model = REFERENCES[preset](Given(delta.method, backbone.config, base, leaves))
        smoothed_loss(model.logits(**batch), batch["labels"], smoothing).backward()
        lengths.append(torch.nn.utils.clip_grad_norm_(leaves.values(), 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        assert (step > 0) == any(not torch.equal(leaf, before[name]) for name, leaf in leaves.items())
    assert max(lengths) > 1, "nothing was clipped"

    training = Training(
        lr=RATES[preset],
        steps=STEPS,
        batch_size=ROWS,
        accumulation=accumulation,
        warmup_steps=WARMUP,
        label_smoothing=smoothing,
        evaluate_steps=STEPS,
    )
    fit(delta, toy(ROWS), training, quiet=True)
    found = {name: tensor.detach() - before[name] for name, tensor in delta.trained().items()}
    agree(found, {name: leaf.detach() - before[name] for name, leaf in leaves.items()}, limit=1e-8)
