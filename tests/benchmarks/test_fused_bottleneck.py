"""The Triton kernels compute what the package's dense form does: on a CPU, through Triton's interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fused_bottleneck.py"


def test_the_kernels_give_outputs_and_gradients_of_the_dense_form():
    pytest.importorskip("triton", reason="triton is not installed")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, SCRIPT, "--check"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "largest relative difference" in done.stdout


def test_the_kernels_build_for_a_gpu_that_is_not_there():
    pytest.importorskip("triton", reason="triton is not installed")
    command = [sys.executable, SCRIPT, "--build-for", "90"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("shared memory") == 4
