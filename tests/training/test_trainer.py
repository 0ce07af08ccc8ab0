"""Training: what it learns, how it resumes, and that it stops well."""

import math
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from training_runs import EXACT, SHORT, fitted, same, toy

from conftest import make_tiny, slow_but_for
from hyperadapters import (
    METHODS,
    Evaluation,
    InputError,
    Interrupted,
    NonFiniteLossError,
    Training,
    attach,
    fit,
)
from hyperadapters.tasks.metrics import accuracy
from hyperadapters.training.evaluation import evaluate
from hyperadapters.training.trainer import Trainer


def test_training_learns_the_toy_task_and_keeps_the_best_epoch():
    delta, found = fitted(Training(lr=1e-2, epochs=12, batch_size=8))
    assert evaluate(delta, toy(), "train").metrics["accuracy"] > 0.9
    best = max(entry["accuracy"] for entry in found.history)
    again = evaluate(delta, toy(), "validation")
    assert again.metrics["accuracy"] == best
    assert found.best_scores == replace(again, seconds=found.best_scores.seconds)
    assert found.best_step == next(e["step"] for e in found.history if e["accuracy"] == best)
    assert found.steps == 12 * 3
    assert found.tokens < found.padded_tokens


def test_the_same_seed_gives_the_same_delta_and_another_seed_another():
    one, _ = fitted(SHORT)
    again, _ = fitted(SHORT)
    same(one, again, **EXACT)
    other, _ = fitted(Training(**{**vars(SHORT), "seed": 1}))
    assert any(not torch.equal(t, other.trained()[k]) for k, t in one.trained().items())


def test_accumulation_changes_memory_and_not_the_result():
    whole, _ = fitted(SHORT)
    parts, _ = fitted(Training(**{**vars(SHORT), "accumulation": 3}))
    same(whole, parts, rtol=1e-3, atol=1e-5)


def test_early_stopping_stops_two_evaluations_after_the_best():
    _, found = fitted(Training(lr=1e-2, epochs=50, batch_size=8, patience=2))
    assert found.best_step == found.history[-3]["step"]
    assert len(found.history) < 50


def test_a_run_that_answers_every_row_alike_is_not_out_of_patience():
    _, found = fitted(Training(lr=1e-12, epochs=5, batch_size=8, patience=2))
    assert len(found.history) == 5


def test_evaluation_every_so_many_steps():
    _, found = fitted(Training(lr=1e-3, epochs=2, batch_size=5, evaluate_steps=4))
    assert [entry["step"] for entry in found.history] == [4, 8, 10]


def test_a_run_counted_in_steps_takes_them_whatever_the_rows_give():
    few, short = (fitted(Training(lr=1e-3, steps=steps, batch_size=8))[1] for steps in (20, 2))
    assert [entry["step"] for entry in few.history] == list(range(2, 21, 2))
    assert (few.steps, short.steps, few.history[-1]["epoch"]) == (20, 2, 7)
    _, found = fitted(Training(lr=1e-3, steps=5, batch_size=8, evaluate_steps=2))
    assert [entry["step"] for entry in found.history] == [2, 4, 5]


def test_bfloat16_training_leaves_the_backbone_as_it_was():
    delta, found = fitted(Training(lr=3e-3, epochs=2, batch_size=8, precision="bf16"))
    assert all(math.isfinite(entry["loss"]) for entry in found.history)
    fresh = make_tiny()
    with delta.disabled() as backbone:
        assert torch.equal(backbone(torch.tensor([[5, 6, 1]]), decoder_input_ids=torch.tensor([[0]])).logits,
                           fresh(torch.tensor([[5, 6, 1]]), decoder_input_ids=torch.tensor([[0]])).logits)  # fmt: skip


@slow_but_for(("full", "compacter++", "prompt-r"), METHODS)
def test_a_run_stopped_at_any_step_and_resumed_ends_the_same(name, tmp_path, monkeypatch):
    """Every method: stop before each third step, resume from the checkpoint, compare to the bit."""
    whole, expected = fitted(SHORT, name, output=tmp_path / "whole")
    steps = Trainer.step
    for stop_at in (3, 9):
        folder = tmp_path / str(stop_at)

        def failing(self, rows, stop_at=stop_at):
            if self.state.step == stop_at:
                raise RuntimeError("stopped")
            return steps(self, rows)

        monkeypatch.setattr(Trainer, "step", failing)
        with pytest.raises(RuntimeError, match="stopped"):
            fitted(Training(**{**vars(SHORT), "checkpoint_seconds": 0.0}), name, output=folder)
        monkeypatch.setattr(Trainer, "step", steps)
        torch.manual_seed(99)
        resumed, found = fitted(SHORT, name, output=folder, resume=True)
        same(whole, resumed, **EXACT)
        assert found.history == expected.history
        assert (found.tokens, found.best_step) == (expected.tokens, expected.best_step)
        known = found.best_scores is not None
        assert known == (found.best_step > stop_at)  # what was found before the break is not kept


def test_ctrl_c_during_the_last_evaluation_stops_too_and_the_run_goes_on_to_its_end(tmp_path):
    evaluations = []

    def stopping(predictions, references):
        evaluations.append(1)
        if len(evaluations) == SHORT.epochs:
            signal.raise_signal(signal.SIGINT)
        return accuracy(predictions, references)

    stopping.__name__ = "accuracy"
    data = replace(toy(), metrics=(stopping,))
    with pytest.raises(Interrupted):
        fit(attach(make_tiny(), METHODS["houlsby"]), data, SHORT, output=tmp_path, quiet=True)
    _, found = fitted(SHORT, output=tmp_path, resume=True)
    assert len(evaluations) == len(found.history) == SHORT.epochs


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    fitted(SHORT, output=tmp_path)
    with pytest.raises(InputError, match="of a run with other settings"):
        fitted(Training(**{**vars(SHORT), "lr": 1e-4}), output=tmp_path, resume=True)


def test_a_checkpoint_of_another_backbone_or_evaluation_is_refused(tmp_path):
    fitted(SHORT, output=tmp_path)
    other = make_tiny()
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    with pytest.raises(InputError, match="written with another backbone"):
        fit(attach(other, METHODS["houlsby"]), toy(), SHORT, output=tmp_path, resume=True, quiet=True)
    again = {"output": tmp_path, "resume": True, "evaluation": Evaluation(decode="generate")}
    with pytest.raises(InputError, match="written with another evaluation"):
        fitted(SHORT, **again)


def test_a_loss_that_is_not_finite_stops_at_its_step_and_keeps_the_last_good_state(tmp_path):
    delta = attach(make_tiny(), METHODS["houlsby"])
    data = toy()
    trainer = Trainer(delta, data, Training(lr=1e-3, epochs=2, batch_size=8), Evaluation(), tmp_path, quiet=True)
    steps, calls = trainer.losses, []

    def poisoned(rows):
        calls.append(1)
        return steps(rows) * (float("nan") if len(calls) == 5 else 1.0)

    trainer.losses = poisoned
    with pytest.raises(
        NonFiniteLossError, match=r"loss is nan at step 5 of 6 .*--set training.lr=0.0001, and another --output"
    ):
        trainer.run(resume=False)
    assert all(torch.isfinite(tensor).all() for tensor in delta.trained().values())
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert all(torch.equal(saved[key], tensor) for key, tensor in delta.trained().items())


def test_trained_tensors_that_are_not_finite_are_told_and_not_saved(tmp_path):
    delta = attach(make_tiny(), METHODS["houlsby"])
    training = Training(lr=1e-3, epochs=2, batch_size=8)
    trainer = Trainer(delta, toy(), training, Evaluation(), tmp_path, quiet=True)
    update = trainer.update

    def diverging(rows, loss):
        update(rows, loss)
        if trainer.state.step == 6:
            with torch.no_grad():
                trainer.trained["adapters.up_bias"].view(-1)[0] = float("inf")

    trainer.update = diverging
    with pytest.raises(
        NonFiniteLossError, match=r"up_bias is not finite after step 6 of 6.*training.lr=0.0001"
    ) as error:
        trainer.run(resume=False)
    assert "\n" not in str(error.value)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())
    assert all(torch.equal(saved[key], tensor) for key, tensor in delta.trained().items())
