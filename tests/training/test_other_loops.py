"""Training on several processes, and by transformers' own Trainer."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from training_runs import SHORT, fitted, toy

from conftest import make_tiny
from hyperadapters import (
    METHODS,
    attach,
)
from hyperadapters.training.evaluation import evaluate

NO_NETWORK = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
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
    assert done.returncode == 0, done.stderr[-20_000:]
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

    from hyperadapters.training.tensors import _collate

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
        model=backbone, args=arguments, train_dataset=rows, data_collator=lambda b: _collate([r["row"] for r in b], 0)
    )
    trainer.train()
    assert any(not torch.equal(before[key], tensor) for key, tensor in delta.trained().items())
    after = dict(backbone.named_parameters())
    assert all(torch.equal(after[key], value) for key, value in frozen.items())
    delta.save(tmp_path / "adapter")
    assert set(load_file(tmp_path / "adapter" / "adapter_model.safetensors")) == set(delta.tensors())
