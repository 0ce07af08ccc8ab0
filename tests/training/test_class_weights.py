"""Classes that count alike in the loss, however rare they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from command_line import refuses, works
from families import FAMILIES
from sklearn.utils.class_weight import compute_class_weight
from tiny_encoders import own_files, rows_in
from toy_tasks import toy

import hyperadapters as ha
from hyperadapters import InputError
from hyperadapters._utils import read_json
from hyperadapters.tasks.targets import FreeText
from hyperadapters.training.class_weights import _balanced, weight_losses
from hyperadapters.training.encoded import Encoded
from hyperadapters.training.trainer import Trainer


def test_weights_are_scikit_learns_and_each_task_has_its_own():
    answers = [0] * 7 + [1] * 2 + [4]
    rows = [Encoded([1], [answer], task="a") for answer in answers]
    others = [Encoded([1], [7, 1], task="b"), Encoded([1], [8, 1], task="b")]
    found = [row.weight for row in _balanced([*rows, *others])]
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 4]), y=answers)
    assert found[:10] == pytest.approx([expected[[0, 1, 4].index(answer)] for answer in answers])
    assert found[10:] == [1.0, 1.0]
    assert sum(found[:10]) == pytest.approx(10)


def trainer(kind, **settings):
    """The trainer of a task with few rows of class 1, on a tiny backbone, before its first step."""
    data = toy(kind)
    rows = [row for row in data.splits["train"] if row.target[0] % 10 == 0][:12]
    rows += [row for row in data.splits["train"] if row.target[0] % 10 == 1][:4]
    data = replace(data, splits={**data.splits, "train": rows})
    family = {"encoder": "bert", "encoder-decoder": "t5", "decoder": "llama"}[kind]
    outputs = 2 if kind == "encoder" else None
    delta = ha.attach(FAMILIES[family].make(), "houlsby", outputs=outputs, seed=0)
    training = ha.Training(lr=0.1, batch_size=16, class_weights="balanced", **settings)
    return Trainer(delta, data, training, ha.Evaluation(), None, quiet=True)


@pytest.mark.parametrize("kind", ["encoder", "encoder-decoder", "decoder"])
def test_the_loss_of_a_batch_is_the_weighted_mean_over_its_targets_in_any_number_of_parts(kind):
    whole, parts = trainer(kind), trainer(kind, accumulation=3)
    rows = whole.next_rows()
    assert sorted({row.weight for row in rows}) == pytest.approx([16 / (2 * 12), 16 / (2 * 4)])
    plain = whole.losses([row._replace(weight=1.0) for row in rows])
    weights = torch.tensor([row.weight for row in rows])
    expected = (plain * weights).sum() / sum(len(row.target) for row in rows)
    assert whole.step(rows) == pytest.approx(expected.item(), rel=1e-5)
    assert parts.step(rows) == pytest.approx(expected.item(), rel=1e-5)
    for name, tensor in whole.trained.items():
        torch.testing.assert_close(parts.trained[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_batch_without_weights_is_left_as_it_is():
    losses = torch.rand(2)
    assert weight_losses(losses, [Encoded([1], [0])] * 2) is losses


def test_answers_that_are_not_classes_have_no_weights():
    data = toy("encoder-decoder")
    data = replace(data, form=replace(data.form, target=FreeText()))
    delta = ha.attach(FAMILIES["t5"].make(), "houlsby")
    with pytest.raises(InputError, match="toy are not one class a row: leave it out"):
        ha.fit(delta, data, ha.Training(lr=0.1, class_weights="balanced"), quiet=True)


def test_the_option_is_one_setting(tmp_path):
    rows = rows_in(tmp_path / "rows.jsonl", [{"t": f"a {i}", "y": "no" if i % 5 else "yes"} for i in range(10)])
    words = ("train", *own_files(rows, text="t", label="y", output=tmp_path / "out"), "--steps", "1")
    twice = ("--set", "training.class_weights=none")
    assert "two values for one setting" in refuses(*words, "--class-weights", "balanced", *twice)
    assert "class_weights" in refuses(*words, "--set", "training.class_weights=equal")
    works(*words, "--class-weights", "balanced")
    assert read_json(tmp_path / "out" / "experiment.json")["training"]["class_weights"] == "balanced"
    score = own_files(rows_in(tmp_path / "n.jsonl", [{"t": "a", "y": 1}, {"t": "b", "y": 2}]), text="t", score="y")
    message = refuses("train", *score, "--class-weights", "balanced", "--output", tmp_path / "other")
    assert "not one class a row" in message
    assert not (tmp_path / "other").exists()
