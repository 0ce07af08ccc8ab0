"""Training on several tasks at once: how they are mixed, and that each is trained and scored as itself."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from conftest import make_tiny
from hyperadapters import METHODS, InputError, Mixture, Training, attach, evaluate, fit
from hyperadapters.data import mixed_batches, mixing_shares
from hyperadapters.train import Trainer
from test_train import EXACT, same, toy

SIZES = (900, 90, 10)


def drawn(temperature, epochs=8, seed=0):
    lengths = list(range(1000))
    batches = [b for e in range(epochs) for b in mixed_batches(lengths, SIZES, temperature, 20, seed, e)]
    return batches, Counter(0 if row < 900 else 1 if row < 990 else 2 for batch in batches for row in batch)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0, 1e6])
def test_tasks_are_drawn_with_the_papers_probabilities(temperature):
    weights = [(size / 1000) ** (1 / temperature) for size in SIZES]
    expected = [weight / sum(weights) for weight in weights]
    torch.testing.assert_close(mixing_shares(SIZES, temperature).tolist(), expected)
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
    batches = mixed_batches(lengths, [24, 24], 10.0, 8, 0, 0)
    assert sum(len({row // 24 for row in batch}) == 2 for batch in batches) > len(batches) / 2


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


@pytest.mark.parametrize(("name", "lr", "epochs"), [("houlsby", 1e-2, 12), ("hyperformer++", 1e-3, 14)])
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
    before = {key: tensor.detach().clone() for key, tensor in delta.trained().items()}
    delta.train_only("toy/straight")
    fit(delta, mixture().tasks[0], Training(lr=0.1, epochs=2, batch_size=8), quiet=True)
    changed = {key for key, tensor in delta.trained().items() if not torch.equal(tensor, before[key])}
    assert changed == {"adapters.tasks"}
    assert torch.equal(delta.trained()["adapters.tasks"][:2], before["adapters.tasks"][:2])


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
    wide = replace(data[1].form, target=replace(data[1].form.target, texts=("0", "1", "2")))
    with pytest.raises(InputError, match="these need: toy/straight 2, toy/turned 3"):
        Mixture(tuple(replace(d, kind="encoder", form=f) for d, f in zip(data, (data[0].form, wide), strict=True)))
    delta = attach(make_tiny(), METHODS["hyperformer"], tasks=["a", "b"])
    with pytest.raises(InputError, match="task 'toy/straight' .*It knows a, b"):
        fit(delta, mixture(), Training(lr=1e-3), quiet=True)
