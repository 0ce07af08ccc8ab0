"""How many steps a run has, the rate of each, and when it evaluates."""

import pytest
import torch
from transformers import get_linear_schedule_with_warmup

from hyperadapters import Training
from hyperadapters.training.schedule import Schedule


def of(rows=24, validation_rows=1, **settings):
    return Schedule.of(Training(lr=1e-3, **settings), rows, validation_rows)


def test_the_rate_warms_up_and_falls_to_zero():
    schedule = of(epochs=4, batch_size=5, warmup_steps=2)
    assert schedule.total == 20
    assert [round(schedule.rate_factor(step), 3) for step in (0, 1, 2, 11, 20)] == [0.0, 0.5, 1.0, 0.5, 0.0]


@pytest.mark.parametrize(("total", "warmup"), [(20, 5), (7, 0), (5, 5), (3, 1), (4, 9)])
def test_the_rate_of_each_step_is_that_of_transformers(total, warmup):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, warmup, total)
    for step in range(total):
        assert of(steps=total, warmup_steps=warmup).rate_factor(step) == theirs.get_last_lr()[0]
        optimizer.step()
        theirs.step()


def test_epochs_take_every_row_and_steps_take_precedence():
    assert (of(epochs=2, batch_size=7).total, of(epochs=2, batch_size=7).epochs) == (8, 2.0)
    assert (of(steps=6, batch_size=8).total, of(steps=6, batch_size=8).epochs) == (6, 2.0)


def test_few_rows_are_passed_over_until_there_are_enough_steps():
    assert (of(epochs=2, batch_size=8, min_steps=10).total, of(epochs=4, batch_size=8, min_steps=10).total) == (10, 12)
    assert of(steps=4, min_steps=10).total == 4


@pytest.mark.parametrize(
    ("settings", "evaluated"),
    [
        ({"epochs": 2, "batch_size": 8}, [3, 6]),
        ({"epochs": 2, "batch_size": 8, "evaluate_steps": 4}, [4, 6]),
        ({"steps": 20, "batch_size": 8}, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        ({"steps": 5, "batch_size": 8, "evaluate_steps": 2}, [2, 4, 5]),
        ({"epochs": 1, "batch_size": 8, "min_steps": 5}, [1, 2, 3, 4, 5]),
        ({"steps": 20, "batch_size": 8, "validation_rows": 48}, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        ({"steps": 20, "batch_size": 8, "validation_rows": 120}, [5, 10, 15, 20]),
        ({"steps": 20, "batch_size": 8, "validation_rows": 10**6}, [20]),
        ({"steps": 20, "batch_size": 8, "validation_rows": 10**6, "evaluate_steps": 8}, [8, 16, 20]),
        ({"epochs": 2, "batch_size": 8, "validation_rows": 10**6}, [3, 6]),
        ({"epochs": 8, "batch_size": 8, "min_steps": 5}, [3, 6, 9, 12, 15, 18, 21, 24]),
    ],
)
def test_a_run_evaluates_after_each_epoch_or_tenth_or_as_asked_and_at_its_end(settings, evaluated):
    schedule = of(**settings)
    epoch = schedule.steps_per_epoch
    steps = range(1, schedule.total + 1)
    assert [step for step in steps if schedule.evaluation_due(step, (step - 1) % epoch + 1)] == evaluated
