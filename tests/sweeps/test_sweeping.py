"""Sweeps: what is run, what is not run again, what a kill leaves; with real processes, killed for real."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from filelock import FileLock, Timeout
from sweep_runs import experiment, here, rows, unused

from hyperadapters import METHODS, TASKS, Experiment, InputError, MixtureTask, NamedTask, Text, Training
from hyperadapters.cli.sweeping import forecast_lines
from hyperadapters.runs.experiment import apply_changes
from hyperadapters.runs.result import RESULT
from hyperadapters.sweeps.executors import Progress, Worker, on_this_machine
from hyperadapters.sweeps.forecasting import answered_tokens, forecast, sampled
from hyperadapters.sweeps.plan import chosen, key, load_experiments, overridden
from hyperadapters.sweeps.sweeping import sweep
from hyperadapters.sweeps.worker import ATTEMPTS, Job, Report, discard, record_failure


def test_what_has_a_result_is_not_run_again(tmp_path):
    runs = [experiment(tmp_path, seed=seed) for seed in (1, 2)]
    first = sweep(runs, tmp_path / "out", engine=here, quiet=True)
    assert list(first.results) == [key(run) for run in runs]
    assert not first.failed
    again = sweep([*runs, runs[0]], tmp_path / "out", engine=unused, quiet=True)
    assert again.results == first.results


def test_a_result_is_left_without_its_adapter_unless_it_is_wanted(tmp_path):
    run = experiment(tmp_path)
    sweep([run], tmp_path / "bare", engine=here, quiet=True)
    assert {p.name for p in (tmp_path / "bare" / key(run)).iterdir()} == {"result.json", "experiment.json"}
    sweep([run], tmp_path / "kept", engine=here, keep=True, quiet=True)
    assert (tmp_path / "kept" / key(run) / "adapter_model.safetensors").exists()


def test_a_key_tells_experiments_apart_but_not_where_their_data_lie(tmp_path):
    run = Experiment(method=METHODS["phm"], task=NamedTask(name="glue/rte"), training=Training(lr=1e-3))
    moved = replace(run, task=replace(run.task, data="elsewhere"), training=Training(lr=1e-3, checkpoint_seconds=5))
    others = [apply_changes(run, {name: value}) for name, value in (("training.seed", "1"), ("method.n", "4"))]
    assert key(run) == key(moved)
    assert len({key(other) for other in (run, *others)}) == 3
    assert key(run).startswith("glue-rte_phm_")
    assert key(apply_changes(run, {"method.n": "4"})).startswith("glue-rte_PHMAdapter_")


def test_a_key_of_very_many_tasks_is_a_name_that_a_file_can_have():
    many = MixtureTask(names=tuple(TASKS))
    runs = [Experiment(method=METHODS["hyperformer"], task=many, training=Training(lr=lr)) for lr in (1e-3, 1e-2)]
    assert max(len(f"{key(run)}.failed.json.tmp".encode()) for run in runs) <= 255
    assert len({key(run) for run in runs}) == 2
    eight = replace(runs[0], task=MixtureTask(names=("glue/mrpc", "glue/rte")))
    assert key(eight).startswith("glue-mrpc+glue-rte_hyperformer_")


def test_a_failure_is_tried_once_more(tmp_path):
    """A folder where the result should be written makes the first attempt fail; it is then cleared away."""
    run = experiment(tmp_path)
    place = tmp_path / "out" / key(run)
    (place / "result.json.tmp").mkdir(parents=True)
    (place / "experiment.json").write_text(json.dumps(run.to_json()))
    swept = sweep([run], tmp_path / "out", engine=here, quiet=True)
    assert list(swept.results) == [key(run)]
    (reason,) = json.loads((tmp_path / "out" / f"{key(run)}.failed.json").read_text())["reasons"]
    assert reason.startswith("IsADirectoryError")


@pytest.mark.parametrize(("left", "pack"), [("README.md", 0), ("checkpoint.safetensors", 1)])
def test_what_a_kill_leaves_of_a_folder_without_its_experiment_holds_up_no_run(left, pack, tmp_path):
    """As it does while the folder is removed, or filled with the files of a cluster's node."""
    runs = [experiment(tmp_path, seed=seed) for seed in (1, 2)]
    place = tmp_path / "out" / key(runs[0])
    place.mkdir(parents=True)
    (place / left).write_text("cut sh")
    swept = sweep(runs, tmp_path / "out", engine=here, pack=pack, quiet=True)
    assert (list(swept.results), swept.failed) == ([key(run) for run in runs], {})
    assert not list((tmp_path / "out").glob("*.failed.json"))
    assert not (place / left).exists()


def test_a_run_is_removed_from_what_says_that_there_is_one(tmp_path, monkeypatch):
    """Killed meanwhile, it leaves nothing that another attempt would go on from."""
    place = tmp_path / "run"
    place.mkdir()
    for name in ("checkpoint.safetensors", "experiment.json"):
        (place / name).write_text("")

    def killed(folder, **options):
        assert [path.name for path in folder.iterdir()] == ["checkpoint.safetensors"]
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        discard(place)


def test_a_wrong_input_is_recorded_and_left_alone_until_asked(tmp_path):
    run = experiment(tmp_path)
    Path(run.task.train).write_text("no JSON\n")
    swept = sweep([run], tmp_path / "out", engine=here, quiet=True)
    assert "not JSON" in swept.failed[key(run)]
    begun = time.time()
    assert "not JSON" in sweep([run], tmp_path / "out", engine=here, quiet=True).failed[key(run)]
    record = tmp_path / "out" / f"{key(run)}.failed.json"
    assert record.stat().st_mtime <= begun
    assert len(json.loads(record.read_text())["reasons"]) == ATTEMPTS
    rows(tmp_path)
    assert not sweep([run], tmp_path / "out", engine=here, retry=True, quiet=True).failed


def test_a_run_that_another_process_is_at_is_left_to_it(tmp_path):
    run = experiment(tmp_path)
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / f"{key(run)}.lock"):
        swept = sweep([run], tmp_path / "out", engine=here, quiet=True)
    assert swept.elsewhere == (key(run),)
    assert not swept.results


def test_a_method_that_does_not_fit_is_refused_before_anything_runs(tmp_path):
    wrong = replace(experiment(tmp_path), method=replace(METHODS["phm"], n=7))
    with pytest.raises(InputError, match="n must divide|n=7"):
        sweep([experiment(tmp_path), wrong], tmp_path / "out", engine=unused, quiet=True)
    assert not (tmp_path / "out").exists()


PROGRAM = """
from pathlib import Path
import json
from hyperadapters import Experiment

def experiments():
    return [Experiment.from_json(item) for item in json.loads(Path(__file__).with_suffix(".json").read_text())]
"""


def program(folder, runs):
    """A sweep's file that returns these runs."""
    path = folder / "runs.py"
    path.write_text(PROGRAM)
    path.with_suffix(".json").write_text(json.dumps([run.to_json() for run in runs]))
    return path


def test_a_sweeps_file_is_run_and_filtered_and_changed(tmp_path):
    runs = [replace(experiment(tmp_path), method=METHODS[name]) for name in ("full", "compacter")]
    runs += [replace(run, training=replace(run.training, lr=3e-2)) for run in runs]
    found = load_experiments(program(tmp_path, runs))
    assert found == runs
    assert chosen(found, {"method": "compacter"}) == [runs[1], runs[3]]
    assert chosen(found, {"method": "compacter,full", "training.lr": "3e-2"}) == runs[2:]
    assert chosen(found, {"method.n": "4"}) == [runs[1], runs[3]]
    assert chosen(found, {"training.adapter_precision": "fp32", "training.steps": "none"}) == runs
    changed = overridden(found, backbone="t5-small", changes={"method.n": "8", "training.epochs": "5"})
    assert {run.backbone for run in changed} == {"t5-small"}
    assert {run.training.epochs for run in changed} == {5}
    assert changed[1].method == replace(METHODS["compacter"], n=8)
    assert changed[0].method == METHODS["full"]


def test_a_method_is_taken_by_its_name_in_every_size(tmp_path):
    presets = (METHODS["houlsby"], METHODS["pfeiffer"])
    methods = [replace(preset, bottleneck=size) for preset in presets for size in (24, 48)]
    runs = [replace(experiment(tmp_path), method=method) for method in methods]
    assert chosen(runs, {"method": "pfeiffer"}) == runs[2:]
    assert chosen(runs, {"method": "pfeiffer", "method.bottleneck": "48"}) == runs[3:]
    with pytest.raises(InputError, match="There are: houlsby, pfeiffer"):
        chosen(runs, {"method": "adapter"})


def test_wrong_filters_files_and_settings_are_refused(tmp_path):
    runs = [experiment(tmp_path)]
    with pytest.raises(InputError, match="no experiment is left. There are: compacter"):
        chosen(runs, {"method": "ful"})
    with pytest.raises(InputError, match="no experiment has that setting"):
        chosen(runs, {"rate": "1"})
    with pytest.raises(InputError, match="no experiment is left. There are: None"):
        chosen(runs, {"training.steps": "100"})
    with pytest.raises(InputError, match="none of the methods has that field"):
        overridden(runs, changes={"method.rang": "1"})
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
    ("import hyperadapters as ha\n\nha.Training(lr=0)\n", "runs.py:3: training.lr=0: more than 0"),
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


def test_a_forecast_counts_what_is_left(tmp_path):
    runs = [experiment(tmp_path, epochs=epochs) for epochs in (1, 3)]
    before = forecast(runs, tmp_path / "out")
    assert (before.done, before.costs[0].runs, before.costs[0].steps) == (0, 2, 3 + 9)
    assert before.basis == ["steps and answers timed here: embedded with compacter++"]
    assert before.costs[0].seconds > 0
    swept = sweep(runs[:1], tmp_path / "out", engine=here, quiet=True)
    (result,) = swept.results.values()
    after = forecast(runs, tmp_path / "out")
    assert (after.done, after.costs[0].runs, after.costs[0].steps) == (1, 1, 9)
    assert after.costs[0].tokens == 3 * result.tokens
    assert after.costs[0].seconds == pytest.approx(3 * result.seconds, rel=0.01)
    assert after.basis == [f"finished runs in {tmp_path / 'out'}: embedded with compacter++"]


def test_a_forecast_rests_on_runs_of_the_same_size(tmp_path):
    small, large = (replace(experiment(tmp_path), method=replace(METHODS["houlsby"], bottleneck=d)) for d in (4, 8))
    sweep([small], tmp_path / "out", engine=here, quiet=True)
    (basis,) = forecast([large], tmp_path / "out").basis
    assert basis == "steps and answers timed here: embedded with houlsby (bottleneck = 8)"


def test_a_damaged_result_is_a_failure_that_says_so_and_holds_up_no_other(tmp_path):
    runs, out = [experiment(tmp_path, seed=seed) for seed in (1, 2)], tmp_path / "out"
    for name in (key(runs[0]), "another"):
        (out / name).mkdir(parents=True)
        (out / name / RESULT).write_text("{}")
    before = forecast(runs, out)
    assert (before.done, before.failed, before.costs[0].runs) == (0, 1, 1)
    swept = sweep(runs, out, engine=here, quiet=True)
    assert list(swept.results) == [key(runs[1])]
    reason = swept.failed[key(runs[0])]
    assert reason.startswith(f"{out / key(runs[0]) / RESULT} is not a result of this version")
    assert reason.endswith("Delete that file, and the run is done again.")
    assert (out / key(runs[0]) / RESULT).read_text() == "{}"


def test_a_forecast_leaves_out_what_failed_for_good_unless_it_is_tried_again(tmp_path):
    run = experiment(tmp_path)
    record_failure(Job(key(run), run.to_json(), str(tmp_path), keep=False), "the loss is inf", final=True)
    left = forecast([run], tmp_path)
    assert (left.done, left.failed, left.costs) == (0, 1, [])
    assert "1 failed and are left alone; --retry-failed tries again what failed for good" in forecast_lines(left, 1)
    again = forecast([run], tmp_path, retry=True)
    assert (again.failed, again.costs[0].runs) == (0, 1)


def test_a_forecast_counts_the_rows_that_are_answered(tmp_path):
    sample = sampled(experiment(tmp_path))
    assert answered_tokens(experiment(tmp_path, epochs=2, evaluate_steps=1), sample, 6) == 7 * sample.tokens(
        "validation"
    )
    assert answered_tokens(experiment(tmp_path, epochs=2), sample, 6) == 3 * sample.tokens("validation")


def test_a_backbone_that_is_not_here_is_forecast_from_the_speed_of_the_machine(tmp_path):
    found = forecast([replace(experiment(tmp_path), backbone="t5-base")], tmp_path / "out")
    (basis,) = found.basis
    assert re.fullmatch(r"half of this machine's [\d,]+ GFLOP/s in matrix products: t5-base with compacter\+\+", basis)
    assert found.costs[0].tokens == 24 * 128


def test_a_forecast_says_what_it_could_not_count(tmp_path):
    run = Experiment(
        method=METHODS["full"], task=NamedTask(name="glue/rte", data=str(tmp_path)), training=Training(lr=1)
    )
    found = forecast([run], tmp_path / "out")
    assert not found.costs
    assert "lacks train.tsv" in found.unknown["glue/rte"]
    said = [line for line in forecast_lines(found, 1) if isinstance(line, str)]
    assert said[0].startswith("not counted: glue/rte")
    assert said[-1].startswith("0 done already")


def test_runs_that_are_trained_together_count_together():
    progress = Progress(50)
    progress.ended(Report("a", "done", beside=["b", "c"]))
    assert (progress.done, progress.finished_here) == (3, 3)
    progress.ended(Report("b", "done"))
    progress.ended(Report("d", "failed"))
    assert (progress.done, progress.failed, progress.finished_here) == (3, 1, 3)


@pytest.mark.parametrize(("visible", "expected"), [("4,5", ["4", "5", "4"]), ("7", ["7", "7", "7"])])
def test_gpus_are_dealt_out_in_turn(visible, expected, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [Worker(number, 3).environment()["CUDA_VISIBLE_DEVICES"] for number in range(3)] == expected


def test_a_worker_that_is_interrupted_before_it_starts_does_nothing(tmp_path, monkeypatch):
    worker = Worker(0, 1)
    job = Job("a", {}, str(tmp_path), keep=False)
    begin = worker.start

    def slowly(log):
        worker.interrupt()  # before there is a process to pass it on to
        return begin(log)

    monkeypatch.setattr(worker, "start", slowly)
    assert worker.do(job).outcome == "stopped"
    assert worker.process is None
    assert worker.do(job).outcome == "stopped"
    assert not list(tmp_path.glob("a*"))


# -- real processes ------------------------------------------------------------------------------------------------


def start(path, output, *options):
    """The sweep as a user starts it."""
    words = [sys.executable, "-m", "hyperadapters.cli", "sweep", path, "--output", output, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([str(word) for word in words], env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(what, seconds=300.0):
    """The first true value of a function."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def free(lock):
    """Whether nobody has a lock: the threads of a process that ends may keep it a moment longer than the process."""
    with contextlib.suppress(Timeout), FileLock(lock, timeout=0):
        return True
    return False


def attempting(process):
    """The process that carries out the runs of a sweep of one job at a time."""
    return [p for p in process.children() if p.status() != psutil.STATUS_ZOMBIE]


def test_a_killed_sweep_ends_its_process_and_goes_on_where_it_was(tmp_path):
    """The same sweep, started again, ends with what an undisturbed run finds."""
    run = replace(experiment(tmp_path, epochs=30), text=Text(source_length=32))
    output = tmp_path / "out"
    process = start(program(tmp_path, [run]), output)
    wait_for((output / key(run) / "checkpoint.safetensors").exists)
    (worker,) = attempting(psutil.Process(process.pid))
    process.kill()
    process.communicate()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    wait_for(lambda: free(output / f"{key(run)}.lock"))
    assert not (output / key(run) / RESULT).exists()
    swept = sweep([run], output, engine=here, quiet=True)
    assert (swept.failed, swept.elsewhere) == ({}, ())
    result = swept.results[key(run)]
    undisturbed = sweep([run], tmp_path / "calm", engine=here, quiet=True).results[key(run)]
    assert result.metrics == undisturbed.metrics
    assert [entry["loss"] for entry in result.history] == [entry["loss"] for entry in undisturbed.history]


def test_a_run_whose_process_is_killed_twice_has_failed_and_holds_up_no_other(tmp_path):
    victim, other = experiment(tmp_path, epochs=5000), experiment(tmp_path, seed=1)
    output = tmp_path / "out"
    with ThreadPoolExecutor() as pool:
        future = pool.submit(sweep, [victim, other], output, engine=on_this_machine(1), quiet=True)
        for _ in range(ATTEMPTS):
            holder = wait_for(lambda: holding(output / f"{key(victim)}.lock"))
            holder.kill()
            holder.wait()
        swept = future.result()
    assert "-9: killed" in swept.failed[key(victim)]
    assert list(swept.results) == [key(other)]


def holding(lock):
    """The process of ours that has a lock file open."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(file.path == str(lock) for file in process.open_files()):
                return process
    return None


def test_an_interrupted_sweep_stops_its_processes_and_says_how_to_go_on(tmp_path):
    run = experiment(tmp_path, epochs=5000)
    output = tmp_path / "out"
    process = start(program(tmp_path, [run]), output)
    wait_for((output / key(run) / "checkpoint.safetensors").exists)
    (worker,) = attempting(psutil.Process(process.pid))
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1]
    assert process.returncode == 130, errors
    assert "The same command goes on" in errors
    assert not psutil.pid_exists(worker.pid)
    assert (output / key(run) / "checkpoint.safetensors").exists()
    assert not (output / f"{key(run)}.failed.json").exists()
