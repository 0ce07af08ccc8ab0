"""Training: what it learns, how it resumes, and that it stops well."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from training_runs import EXACT, SHORT, Digits, fitted, rows_file, same, toy

from conftest import make_tiny
from hyperadapters import (
    METHODS,
    Evaluation,
    InputError,
    Interrupted,
    NonFiniteLossError,
    Training,
    attach,
    fit,
    load_backbone,
    load_data,
)
from hyperadapters.tasks.metrics import accuracy
from hyperadapters.tasks.task import Labels
from hyperadapters.training import evaluation as evaluate
from hyperadapters.training.checkpoint import CHECKPOINT
from hyperadapters.training.encoder_decoder import score_labels
from hyperadapters.training.encoding import label_tokens
from hyperadapters.training.trainer import Trainer

NO_NETWORK = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def test_training_learns_the_toy_task_and_keeps_the_best_epoch():
    delta, found = fitted(Training(lr=1e-2, epochs=12, batch_size=8))
    assert evaluate(delta, toy(), "train").metrics["accuracy"] > 0.9
    best = max(entry["accuracy"] for entry in found.history)
    assert evaluate(delta, toy(), "validation").metrics["accuracy"] == best
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


def test_the_rate_warms_up_and_falls_to_zero():
    trainer = Trainer(attach(make_tiny(), METHODS["houlsby"]), toy(), SHORT, Evaluation(), None, quiet=True)
    assert [round(trainer.rate_factor(step), 3) for step in (0, 1, 2, 11, 20)] == [0.5, 1.0, 1.0, 0.5, 0.0]


def test_early_stopping_stops():
    _, found = fitted(Training(lr=1e-12, epochs=50, batch_size=8, patience=2))
    assert [entry["epoch"] for entry in found.history] == [1, 2, 3]


def test_evaluation_every_so_many_steps():
    _, found = fitted(Training(lr=1e-3, epochs=2, batch_size=5, evaluate_steps=4))
    assert [entry["step"] for entry in found.history] == [4, 8, 10]


def test_a_run_counted_in_steps_takes_them_whatever_the_rows_give():
    few, short = (fitted(Training(lr=1e-3, steps=steps, batch_size=8))[1] for steps in (20, 2))
    assert [entry["step"] for entry in few.history] == list(range(2, 21, 2))
    assert (few.steps, short.steps, few.history[-1]["epoch"]) == (20, 2, 7)
    _, found = fitted(Training(lr=1e-3, steps=5, batch_size=8, evaluate_steps=2))
    assert [entry["step"] for entry in found.history] == [2, 4, 5]


def test_a_step_limit_that_is_not_set_leaves_a_run_what_it_was():
    assert "steps" not in SHORT.to_json()
    assert Training(lr=1e-3, steps=3).to_json()["steps"] == 3


def test_bfloat16_training_leaves_the_backbone_as_it_was():
    delta, found = fitted(Training(lr=3e-3, epochs=2, batch_size=8, precision="bf16"))
    assert all(math.isfinite(entry["loss"]) for entry in found.history)
    fresh = make_tiny()
    with delta.disabled() as backbone:
        assert torch.equal(backbone(torch.tensor([[5, 6, 1]]), decoder_input_ids=torch.tensor([[0]])).logits,
                           fresh(torch.tensor([[5, 6, 1]]), decoder_input_ids=torch.tensor([[0]])).logits)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_a_run_stopped_at_any_step_and_resumed_ends_the_same(method, tmp_path, monkeypatch):
    """Every method: stop before each third step, resume from the checkpoint, compare to the bit."""
    whole, expected = fitted(SHORT, method, output=tmp_path / "whole")
    steps = Trainer.step
    for stop_at in (3, 9):
        folder = tmp_path / str(stop_at)

        def failing(self, rows, stop_at=stop_at):
            if self.state.step == stop_at:
                raise RuntimeError("stopped")
            return steps(self, rows)

        monkeypatch.setattr(Trainer, "step", failing)
        with pytest.raises(RuntimeError, match="stopped"):
            fitted(Training(**{**vars(SHORT), "checkpoint_seconds": 0.0}), method, output=folder)
        monkeypatch.setattr(Trainer, "step", steps)
        torch.manual_seed(99)
        resumed, found = fitted(SHORT, method, output=folder, resume=True)
        same(whole, resumed, **EXACT)
        assert found.history == expected.history
        assert (found.tokens, found.best_step) == (expected.tokens, expected.best_step)


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


# -- killed for real ----------------------------------------------------------------------------------------------


def command(folder: Path, output: Path, *more: str) -> list[str]:
    settings = {"training.epochs": 2, "training.batch_size": 8, "training.checkpoint_seconds": 0, "training.lr": 0.01}
    return [
        *(sys.executable, "-m", "hyperadapters.cli", "train", "--json", "--output", str(output)),
        *("--train", str(folder / "train.jsonl"), "--validation", str(folder / "validation.jsonl")),
        *("--text", "text", "--label", "label"),
        *(part for key, value in settings.items() for part in ("--set", f"{key}={value}")),
        *more,
    ]


def steps_done(output: Path) -> int:
    try:
        with safe_open(output / CHECKPOINT, framework="pt") as file:
            return json.loads(file.metadata()["state"])["step"]
    except Exception:
        return 0


def stop_after(process: subprocess.Popen, output: Path, step: int, number: signal.Signals) -> None:
    deadline = time.monotonic() + 120
    while steps_done(output) < step and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of the data and what a run without interruption ends with."""
    folder = tmp_path_factory.mktemp("kill")
    rows_file(folder / "train.jsonl", 48)
    rows_file(folder / "validation.jsonl", 16)
    done = subprocess.run(command(folder, folder / "whole"), check=True, capture_output=True, env=NO_NETWORK)
    return folder, json.loads(done.stdout)


def ends_the_same(folder, whole, output):
    done = subprocess.run(command(folder, output, "--resume"), check=True, capture_output=True, env=NO_NETWORK)
    result = json.loads(done.stdout)
    assert result["metrics"] == whole["metrics"]
    assert result["history"] == whole["history"]
    ours, expected = (load_file(place / "adapter_model.safetensors") for place in (output, folder / "whole"))
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], expected[key]) for key in expected)
    assert not (output / CHECKPOINT).exists()


@pytest.mark.parametrize("step", [1, 7, 11])
def test_killed_and_resumed_a_run_ends_with_the_same_bits(step, uninterrupted, tmp_path):
    folder, whole = uninterrupted
    with subprocess.Popen(command(folder, tmp_path / "out"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env=NO_NETWORK) as process:  # fmt: skip
        stop_after(process, tmp_path / "out", step, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    ends_the_same(folder, whole, tmp_path / "out")


def test_ctrl_c_keeps_a_checkpoint_says_how_to_go_on_and_exits_with_130(uninterrupted, tmp_path):
    folder, whole = uninterrupted
    with subprocess.Popen(command(folder, tmp_path / "out"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=NO_NETWORK) as process:  # fmt: skip
        stop_after(process, tmp_path / "out", 2, signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert out == ""
    assert "give the same command with --resume" in err
    assert "Traceback" not in err
    ends_the_same(folder, whole, tmp_path / "out")


# -- other loops --------------------------------------------------------------------------------------------------


def test_two_processes_train_the_adapters_that_one_would_of_one_task_and_of_a_mixture(tmp_path):
    import mixture_runs

    script = tmp_path / "two.py"
    script.write_text(
        "import sys\n"
        "import torch\n"
        "from accelerate import PartialState\n"
        "state = PartialState(cpu=True)\n"
        "from training_runs import SHORT, fitted, toy\n"
        "from mixture_runs import trained\n"
        "from hyperadapters import evaluate\n"
        "delta, found = fitted(SHORT)\n"
        "scores = evaluate(delta, toy(), 'test')\n"
        "assert state.num_processes == 2\n"
        "if state.is_main_process:\n"
        "    delta.about = {'answers': scores.answers, 'processes': state.num_processes}\n"
        "    delta.save(sys.argv[1])\n"
        "mixed, _ = trained('hyperformer++', SHORT)\n"
        "if state.is_main_process:\n"
        "    mixed.save(sys.argv[1] + '-mixed')\n"
    )
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
              "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
              str(script), str(tmp_path / "out")]  # fmt: skip
    done = subprocess.run(
        launch, check=False, capture_output=True, text=True, env={**NO_NETWORK, "ACCELERATE_USE_CPU": "true"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone, _ = fitted(SHORT)
    together = load_file(tmp_path / "out" / "adapter_model.safetensors")
    for key, tensor in alone.trained().items():
        torch.testing.assert_close(together[key], tensor, rtol=1e-3, atol=1e-5)
    mixed, _ = mixture_runs.trained("hyperformer++", SHORT)
    for key, tensor in load_file(tmp_path / "out-mixed" / "adapter_model.safetensors").items():
        torch.testing.assert_close(tensor, mixed.trained()[key], rtol=1e-3, atol=1e-5)
    about = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert about["answers"] == evaluate(alone, toy(), "test").answers


def test_the_trainer_of_transformers_trains_an_attached_backbone(tmp_path):
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

    from hyperadapters.training.tensors import collate

    delta = attach(make_tiny(), METHODS["compacter"])
    backbone = delta.backbone
    before = {key: tensor.detach().clone() for key, tensor in delta.trained().items()}
    frozen = {key: p.clone() for key, p in backbone.named_parameters() if not key.startswith("hyperadapters.")}
    rows = [{"row": row} for row in toy().splits["train"]]
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(tmp_path), max_steps=3, per_device_train_batch_size=4, learning_rate=1e-2, report_to=[],
        save_strategy="no", remove_unused_columns=False, use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Seq2SeqTrainer(
        model=backbone, args=arguments, train_dataset=rows, data_collator=lambda b: collate([r["row"] for r in b], 0)
    )
    trainer.train()
    assert any(not torch.equal(before[key], tensor) for key, tensor in delta.trained().items())
    after = dict(backbone.named_parameters())
    assert all(torch.equal(after[key], value) for key, value in frozen.items())
    delta.save(tmp_path / "adapter")
    assert set(load_file(tmp_path / "adapter" / "adapter_model.safetensors")) == set(delta.tensors())


# -- evaluation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [2**27, 1])
def test_scored_labels_have_the_probability_that_the_decoder_gives_them(most, monkeypatch):
    monkeypatch.setattr("hyperadapters.training.encoder_decoder.LOGITS", most)
    backbone, data = make_tiny(), toy()
    form = replace(data.form, target=Labels(("0", "12")))
    labels = label_tokens([form], lambda answers: Digits()(answers).input_ids)
    assert labels.tolist() == [[[10, 1, -100], [11, 12, 1]]]
    source = {"input_ids": torch.tensor([data.splits["test"][0].source, data.splits["test"][0].source])}
    source["attention_mask"] = torch.ones_like(source["input_ids"])
    found = score_labels(backbone, source, labels)
    for column, target in enumerate(([10, 1], [11, 12, 1])):
        total = 0.0
        for step, token in enumerate(target):
            prefix = torch.tensor([[0, *target[:step]]])
            scores = backbone(source["input_ids"][:1], decoder_input_ids=prefix).logits[0, -1].log_softmax(-1)
            total += scores[token].item()
        assert found[0, column].item() == pytest.approx(total, abs=1e-4)


def test_generation_reports_its_invalid_answers_and_scoring_has_none():
    delta = attach(make_tiny(), METHODS["houlsby"])
    generated = evaluate(delta, toy(), "test", Evaluation(decode="generate"))
    scored = evaluate(delta, toy(), "test")
    assert generated.invalid > 0.9
    assert (scored.invalid, scored.decode, generated.decode) == (0.0, "score", "generate")
    assert set(scored.answers) <= {"0", "1"}


def test_answers_come_in_the_order_of_the_rows_whatever_the_batch():
    delta, _ = fitted(Training(lr=1e-2, epochs=12, batch_size=8))
    one = evaluate(delta, toy(), "train", Evaluation(batch_size=1)).answers
    assert evaluate(delta, toy(), "train", Evaluation(batch_size=7)).answers == one
    assert len(set(one)) == 2


def test_an_unknown_split_is_named():
    with pytest.raises(InputError, match="no dev split; it has train, validation, test"):
        evaluate(attach(make_tiny(), METHODS["houlsby"]), toy(), "dev")


def test_scoring_free_text_is_refused():
    from dataclasses import replace

    from hyperadapters.tasks.task import FreeText

    data = toy()
    data = replace(data, form=replace(data.form, target=FreeText()))
    with pytest.raises(InputError, match="decode=score needs labels"):
        evaluate(attach(make_tiny(), METHODS["houlsby"]), data, "test", Evaluation(decode="score"))


def test_a_real_run_on_mrpc_beats_the_majority_class(shared):
    """MRPC (Dolan and Brockett, 2005) with the embedded T5, on the papers' split, answers generated."""
    backbone, tokenizer = load_backbone()
    data = load_data("glue/mrpc", tokenizer, shared / "glue")
    torch.manual_seed(0)
    delta = attach(backbone, METHODS["full"])
    fit(delta, data, Training(lr=3e-4, epochs=2, seed=0), quiet=True)
    found = evaluate(delta, data, "test", Evaluation(decode="generate"))
    positive = data.references["test"].count(1) / len(data.references["test"])
    assert found.invalid == 0
    assert found.metrics["accuracy"] > positive + 0.02
    assert found.metrics["f1"] > 2 * positive / (1 + positive)
