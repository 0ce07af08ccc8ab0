"""A sweep's file is a Python program of the user's, whose faults are the user's."""

from pathlib import Path

import pytest
from sweep_runs import PROGRAM, experiment, program

from hyperadapters import InputError
from hyperadapters.sweeps.experiment_files import load_experiments


def test_a_sweeps_file_is_run(tmp_path):
    runs = [experiment(tmp_path, seed=seed) for seed in (1, 2)]
    assert load_experiments(program(tmp_path, runs)) == runs


def test_a_file_without_experiments_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(InputError, match=r"no function experiments\(\)"):
        load_experiments(tmp_path / "empty.py")
    (tmp_path / "wrong.py").write_text("def experiments(): return [1]")
    with pytest.raises(InputError, match="must return a list of Experiment"):
        load_experiments(tmp_path / "wrong.py")


FAULTS = [
    ("import math\n\ndef experiments():\n    return [math.cosine(1)]\n", r"runs.py:4: AttributeError: .*cosine"),
    ("def experiments(:\n    return []\n", "runs.py:1: SyntaxError: "),
    ("import no_such_module\n", "runs.py:1: ModuleNotFoundError: No module named 'no_such_module'"),
    ("from neighbour import x\n", "neighbour.py:2: SyntaxError: "),
    ("import hyperadapters as ha\n\nha.Training(lr=0)\n", r"runs.py:3: training.lr=0.0: must be more than 0"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_a_fault_in_a_sweeps_file_is_the_users_and_names_its_line(text, message, tmp_path, monkeypatch):
    (tmp_path / "neighbour.py").write_text("x = 1\nx = (\n")
    (tmp_path / "runs.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    for path in (Path("runs.py"), tmp_path / "runs.py"):
        with pytest.raises(InputError, match=message):
            load_experiments(path)


def test_a_sweeps_file_is_named_as_python_and_may_hold_dataclasses(tmp_path):
    (tmp_path / "runs.txt").write_text("")
    with pytest.raises(InputError, match=r"runs.txt is no Python file: its name ends in \.py"):
        load_experiments(tmp_path / "runs.txt")
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    path = program(tmp_path, [experiment(tmp_path)])
    path.write_text(f"{head}@dataclass\nclass Size:\n    n: int\n{PROGRAM}")
    assert load_experiments(path) == [experiment(tmp_path)]
