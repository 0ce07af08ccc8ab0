"""Runs that are killed or interrupted and resumed end with the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_line import one_json, works
from safetensors import safe_open
from safetensors.torch import load_file
from training_runs import rows_file

from hyperadapters.training.checkpoint import CHECKPOINT

NO_NETWORK = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def words(folder: Path, output: Path) -> list[str]:
    settings = {"training.epochs": 2, "training.batch_size": 8, "training.checkpoint_seconds": 0, "training.lr": 0.01}
    return [
        *("train", "--json", "--output", str(output)),
        *("--train", str(folder / "train.jsonl"), "--validation", str(folder / "validation.jsonl")),
        *("--text", "text", "--label", "label"),
        *(part for key, value in settings.items() for part in ("--set", f"{key}={value}")),
    ]


def command(folder: Path, output: Path) -> list[str]:
    """The same as a process, which can be killed."""
    return [sys.executable, "-m", "hyperadapters.cli", *words(folder, output)]


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
    return folder, one_json(works(*words(folder, folder / "whole")))


def ends_the_same(folder, whole, output):
    result = one_json(works(*words(folder, output), "--resume"))
    assert result["metrics"] == whole["metrics"]
    assert result["history"] == whole["history"]
    ours, expected = (load_file(place / "adapter_model.safetensors") for place in (output, folder / "whole"))
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], expected[key]) for key in expected)
    assert not (output / CHECKPOINT).exists()


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 7, pytest.param(11, marks=pytest.mark.slow)])
def test_killed_and_resumed_a_run_ends_with_the_same_bits(step, uninterrupted, tmp_path):
    folder, whole = uninterrupted
    with subprocess.Popen(command(folder, tmp_path / "out"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env=NO_NETWORK) as process:  # fmt: skip
        stop_after(process, tmp_path / "out", step, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    ends_the_same(folder, whole, tmp_path / "out")


@pytest.mark.slow  # a killed run and an interrupted sweep are in `make check`
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
