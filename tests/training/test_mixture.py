"""Training on several tasks at once: how they are mixed, and that each is trained and scored as itself."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from mixture_runs import mixture, trained
from training_runs import EXACT, same

from conftest import make_tiny
from hyperadapters import METHODS, InputError, Mixture, Training, attach, fit
from hyperadapters.training.batching import _mixed_batches, _mixing_shares
from hyperadapters.training.evaluation import evaluate
from hyperadapters.training.trainer import Trainer

SIZES = (900, 90, 10)


def drawn(temperature, epochs=8, seed=0):
    lengths = list(range(1000))
    batches = [b for e in range(epochs) for b in _mixed_batches(lengths, SIZES, temperature, 20, seed, e)]
    return batches, Counter(0 if row < 900 else 1 if row < 990 else 2 for batch in batches for row in batch)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0, 1e6])
def test_tasks_are_drawn_with_the_papers_probabilities(temperature):
    weights = [(size / 1000) ** (1 / temperature) for size in SIZES]
    expected = [weight / sum(weights) for weight in weights]
    torch.testing.assert_close(_mixing_shares(SIZES, temperature).tolist(), expected)
    _, counts = drawn(temperature)
    total = sum(counts.values())
    assert total == 8 * 1000
    for task, share in enumerate(expected):
        assert counts[task] / total == pytest.approx(share, abs=4 * (share * (1 - share) / total) ** 0.5 + 1e-9)


def test_batches_are_a_function_of_seed_and_epoch_and_reach_every_row():
    assert drawn(2.0) == drawn(2.0)
    assert drawn(2.0)[0] != drawn(2.0, seed=1)[0]
    rows = {row for batch in drawn(1e6, epochs=40)[0] for row in batch}
    assert rows == set(range(1000))


def test_batches_mix_tasks():
    data = mixture()
    lengths = [len(row.source) for part in data.tasks for row in part.splits["train"]]
    batches = _mixed_batches(lengths, [24, 24], 10.0, 8, 0, 0)
    assert sum(len({row // 24 for row in batch}) == 2 for batch in batches) > len(batches) / 2


@pytest.mark.parametrize(
    ("name", "lr", "epochs"), [("houlsby", 1e-2, 12), pytest.param("hyperformer++", 1e-3, 24, marks=pytest.mark.slow)]
)
def test_each_task_learns_its_own_answers(name, lr, epochs):
    delta, found = trained(name, Training(lr=lr, epochs=epochs, batch_size=8))
    scores = evaluate(delta, mixture(), "train")
    assert set(scores.metrics) == {"straight.accuracy", "turned.accuracy"}
    assert min(scores.metrics.values()) > 0.85
    best = max((e["straight.accuracy"] + e["turned.accuracy"]) / 2 for e in found.history)
    assert evaluate(delta, mixture(), "validation").mean == pytest.approx(best)
    assert evaluate(delta, mixture().tasks[1], "train").metrics["accuracy"] == scores.metrics["turned.accuracy"]


def test_a_mixed_run_that_is_interrupted_ends_the_same(tmp_path, monkeypatch):
    training = Training(lr=3e-3, epochs=3, batch_size=8, checkpoint_seconds=0.0)
    whole, expected = trained("hyper-compacter", training, output=tmp_path / "whole")
    steps = Trainer.step

    def failing(self, rows):
        if self.state.step == 8:
            raise RuntimeError("stopped")
        return steps(self, rows)

    monkeypatch.setattr(Trainer, "step", failing)
    with pytest.raises(RuntimeError, match="stopped"):
        trained("hyper-compacter", training, output=tmp_path / "cut")
    monkeypatch.setattr(Trainer, "step", steps)
    resumed, found = trained("hyper-compacter", training, output=tmp_path / "cut", resume=True)
    same(whole, resumed, **EXACT)
    assert found.history == expected.history


def test_a_new_task_is_learnt_from_few_rows_with_the_rest_frozen():
    torch.manual_seed(0)
    delta = attach(make_tiny(), METHODS["hyperformer++"], tasks=["a", "b"])
    delta.add_task("toy/straight", like="a")
    before = {key: tensor.detach().clone() for key, tensor in delta.tensors().items()}
    delta.train_only("toy/straight")
    fit(delta, mixture().tasks[0], Training(lr=0.1, epochs=2, batch_size=8), quiet=True)
    changed = {key for key, tensor in delta.tensors().items() if not torch.equal(tensor, before[key])}
    assert changed == {"adapters.tasks"}
    assert torch.equal(delta.tensors()["adapters.tasks"][:2], before["adapters.tasks"][:2])


@pytest.mark.parametrize(("temperature", "shares"), [(5e-324, [0, 1, 0]), (1e-308, [0, 1, 0]), (math.inf, [1 / 3] * 3)])
def test_the_extremes_of_temperature_draw_the_largest_task_alone_or_all_alike(temperature, shares):
    assert _mixing_shares([10, 30, 20], temperature).tolist() == pytest.approx(shares)


def taught(delta, task, lr=0.1):
    """How much of a Delta a short training on one toy task moves."""
    before = {key: tensor.detach().clone() for key, tensor in delta.tensors().items()}
    fit(delta, mixture().tasks[task], Training(lr=lr, epochs=1, batch_size=8), quiet=True)
    return {key: (tensor - before[key]).abs().amax(list(range(1, tensor.dim()))) for key, tensor in
            delta.tensors().items()}  # fmt: skip


def test_the_task_that_trains_can_be_changed_and_stays_through_rest():
    torch.manual_seed(0)
    delta = attach(make_tiny(), METHODS["hyperformer++"], tasks=["toy/straight", "toy/turned"])
    delta.train_only("straight")
    with delta.disabled():
        pass
    with pytest.raises(InputError, match="n must divide"):
        attach(delta.backbone, METHODS["compacter"].__class__(n=7), name="other")
    delta.train_only("turned")
    moved = taught(delta, 1)
    assert {key for key, change in moved.items() if change.any()} == {"adapters.tasks"}
    assert (moved["adapters.tasks"] > 0).tolist() == [False, True]
    with pytest.raises(InputError, match=r"train_only lets toy/turned alone train, the data is toy/straight"):
        taught(delta, 0)
    delta.train_only(None)
    assert taught(delta, 0)["adapters.networks.encoder.layer"].any()


def test_what_trains_of_a_delta_at_rest_is_said_and_waits():
    backbone = make_tiny()
    first = attach(backbone, METHODS["hyperformer++"], name="first", tasks=["a", "b"])
    second = attach(backbone, METHODS["compacter"], name="second")
    first.train_only("a")
    first.add_task("c")
    assert second.in_use
    assert not first.in_use
    assert not any(tensor.requires_grad for tensor in first.trained().values())
    first.use()
    assert [key for key, tensor in first.trained().items() if tensor.requires_grad] == ["adapters.tasks"]


def test_a_checkpoint_of_one_task_that_trains_is_not_resumed_with_another(tmp_path):
    def few(task, output, **options):
        torch.manual_seed(0)
        delta = attach(make_tiny(), METHODS["hyperformer++"], tasks=["toy/straight", "toy/turned"])
        delta.train_only(task)
        training = Training(lr=0.1, epochs=1, batch_size=8, checkpoint_seconds=0)
        fit(delta, mixture().tasks[0], training, output=output, quiet=True, **options)

    few("straight", tmp_path)
    with pytest.raises(InputError, match="written with another .*task that trains|choice of trained tensors"):
        few(None, tmp_path, resume=True)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_means_nothing_is_refused(temperature):
    with pytest.raises(InputError, match="temperature=.*more than 0"):
        mixture(temperature)


def test_mixtures_that_cannot_be_are_refused():
    data = mixture().tasks
    with pytest.raises(InputError, match="each task once; given: toy/straight, toy/straight"):
        Mixture((data[0], data[0]))
    with pytest.raises(InputError, match="toy/turned: no training rows"):
        Mixture((data[0], replace(data[1], splits={**data[1].splits, "train": []})))
    with pytest.raises(InputError, match=r"attach\(\.\.\., tasks=\['toy/straight', 'toy/turned'\]\)"):
        fit(attach(make_tiny(), METHODS["hyperformer"]), mixture(), Training(lr=1e-3), quiet=True)
    delta = attach(make_tiny(), METHODS["hyperformer"], tasks=["a", "b"])
    with pytest.raises(InputError, match="knows no task 'toy/straight'. It knows a, b"):
        fit(delta, mixture(), Training(lr=1e-3), quiet=True)
