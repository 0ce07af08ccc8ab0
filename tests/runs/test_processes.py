"""One run in two processes, started by torchrun, over gloo: it is the run that one process makes."""

import json

import pytest
import torch
from mixture_runs import trained
from safetensors.torch import load_file
from sweep_runs import experiment
from two_processes import run_in_two_processes

from hyperadapters import Training
from hyperadapters.runs.result import read_result
from hyperadapters.runs.running import run

SHORT = Training(lr=1e-3, epochs=2, batch_size=10)

PROGRAM = """
import json
import sys
from pathlib import Path
from accelerate import PartialState

state = PartialState(cpu=True)
assert state.num_processes == 2
rank, folder = state.process_index, Path(sys.argv[1])

from hyperadapters import Experiment, Training, run
from hyperadapters.training import Trainer
from mixture_runs import trained
SHORT = Training(lr=1e-3, epochs=2, batch_size=10)

_, whole = trained("hyperformer++", SHORT, output=folder / f"whole-{rank}")

step = Trainer.step
def failing(self, rows):
    if self.state.step == 7:
        raise RuntimeError("stopped")
    return step(self, rows)
Trainer.step = failing
try:
    trained("hyperformer++", SHORT, output=folder / "halves")
    raise AssertionError("it was to stop")
except RuntimeError:
    pass
Trainer.step = step
state.wait_for_everyone()
_, halves = trained("hyperformer++", SHORT, output=folder / "halves", resume=True)
assert halves.history == whole.history

experiment = Experiment.from_json(json.loads((folder / "experiment.json").read_text()))
run(experiment, folder / f"run-{rank}", quiet=True)
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The folder in which two processes trained a mixture at once, and in two halves, and made a whole run."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "experiment.json").write_text(json.dumps(experiment(folder).to_json()))  # and its backbone and rows
    return run_in_two_processes(folder, PROGRAM, ACCELERATE_USE_CPU="true")


def adapter(folder):
    return load_file(folder / "adapter_model.safetensors")


def test_a_mixture_in_two_processes_is_the_mixture_in_one(together):
    alone, found = trained("hyperformer++", SHORT)
    for name, tensor in adapter(together / "whole-0").items():
        torch.testing.assert_close(tensor, alone.trained()[name], rtol=1e-3, atol=1e-5)
    assert found.steps == 2 * 5


def test_two_processes_stopped_and_resumed_end_with_the_same_bits(together):
    whole, halves = adapter(together / "whole-0"), adapter(together / "halves")
    assert whole.keys() == halves.keys()
    assert all(torch.equal(tensor, halves[name]) for name, tensor in whole.items())


def test_the_first_process_alone_writes(together):
    assert not (together / "whole-1").exists()
    assert not (together / "run-1").exists()


def test_a_run_of_two_processes_reports_as_that_of_one(together, tmp_path):
    """Dropout differs, since each process draws its own: what is counted is the same, and so are the steps."""
    two, one = read_result(together / "run-0"), run(experiment(tmp_path), tmp_path / "alone", quiet=True)
    counts = ("steps", "tokens", "padded_tokens", "trained", "truncated")
    assert [getattr(two, name) for name in counts] == [getattr(one, name) for name in counts]
    assert two.history[0]["loss"] == pytest.approx(one.history[0]["loss"], rel=0.2)
