"""Sweeps: what is run, what is not run again, what a kill leaves; with real processes, killed for real."""

import contextlib
import json
import os
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
from sweep_runs import experiment, here, program, rows, unused

from hyperadapters import METHODS, InputError, NamedTask, Text
from hyperadapters._utils import write_json
from hyperadapters.runs.data_checksums import with_checksums
from hyperadapters.runs.result import RESULT
from hyperadapters.sweeps.forecasting import forecast
from hyperadapters.sweeps.jobs import _ATTEMPTS, _discard
from hyperadapters.sweeps.keys import experiment_key
from hyperadapters.sweeps.processes import local_executor
from hyperadapters.sweeps.sweeping import sweep


@pytest.mark.slow
def test_what_has_a_result_is_not_run_again(tmp_path):
    runs = [experiment(tmp_path, seed=seed) for seed in (1, 2)]
    first = sweep(runs, tmp_path / "out", executor=here, quiet=True)
    assert list(first.results) == [experiment_key(run) for run in runs]
    assert not first.failed
    again = sweep([*runs, runs[0]], tmp_path / "out", executor=unused, quiet=True)
    assert again.results == first.results


def test_a_result_is_left_without_its_adapter_unless_it_is_wanted(tmp_path):
    run = experiment(tmp_path)
    sweep([run], tmp_path / "bare", executor=here, quiet=True)
    assert {p.name for p in (tmp_path / "bare" / experiment_key(run)).iterdir()} == {"result.json", "experiment.json"}
    sweep([run], tmp_path / "kept", executor=here, keep=True, quiet=True)
    assert (tmp_path / "kept" / experiment_key(run) / "adapter_model.safetensors").exists()


def test_a_failure_is_tried_once_more(tmp_path):
    """A folder where a file should be written makes the first attempt fail; it is then cleared away."""
    run = experiment(tmp_path)
    place = tmp_path / "out" / experiment_key(run)
    (place / "README.md").mkdir(parents=True)
    write_json(place / "experiment.json", with_checksums(run).to_json())
    swept = sweep([run], tmp_path / "out", executor=here, quiet=True)
    assert swept.failed == {}
    assert list(swept.results) == [experiment_key(run)]
    (reason,) = json.loads((tmp_path / "out" / f"{experiment_key(run)}.failed.json").read_text())["reasons"]
    assert reason.startswith("CannotWriteError")


@pytest.mark.parametrize(
    ("left", "pack"), [pytest.param("README.md", 0, marks=pytest.mark.slow), ("checkpoint.safetensors", 1)]
)
def test_what_a_kill_leaves_of_a_folder_without_its_experiment_holds_up_no_run(left, pack, tmp_path):
    """As it does while the folder is removed, or filled with the files of a cluster's node."""
    runs = [experiment(tmp_path, seed=seed) for seed in (1, 2)]
    place = tmp_path / "out" / experiment_key(runs[0])
    place.mkdir(parents=True)
    (place / left).write_text("cut sh")
    swept = sweep(runs, tmp_path / "out", executor=here, pack=pack, quiet=True)
    assert (list(swept.results), swept.failed) == ([experiment_key(run) for run in runs], {})
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
        _discard(place)


def test_a_wrong_input_is_recorded_and_left_alone_until_asked(tmp_path):
    run = experiment(tmp_path)
    Path(run.task.train).write_text("no JSON\n")
    swept = sweep([run], tmp_path / "out", executor=here, quiet=True)
    assert "not JSON" in swept.failed[experiment_key(run)]
    begun = time.time()
    assert "not JSON" in sweep([run], tmp_path / "out", executor=here, quiet=True).failed[experiment_key(run)]
    record = tmp_path / "out" / f"{experiment_key(run)}.failed.json"
    assert record.stat().st_mtime <= begun
    assert len(json.loads(record.read_text())["reasons"]) == _ATTEMPTS
    rows(tmp_path)
    assert not sweep([run], tmp_path / "out", executor=here, retry=True, quiet=True).failed


def test_a_run_that_another_process_is_at_is_left_to_it(tmp_path):
    run = experiment(tmp_path)
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / f"{experiment_key(run)}.lock"):
        swept = sweep([run], tmp_path / "out", executor=here, quiet=True)
    assert swept.elsewhere == (experiment_key(run),)
    assert not swept.results


def test_a_method_that_does_not_fit_is_refused_before_anything_runs(tmp_path):
    wrong = replace(experiment(tmp_path), method=replace(METHODS["phm"], n=7))
    with pytest.raises(InputError, match="n must divide|n=7"):
        sweep([experiment(tmp_path), wrong], tmp_path / "out", executor=unused, quiet=True)
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_is_found_before_anything_runs_all_of_it_and_once(tmp_path):
    run, out = experiment(tmp_path), tmp_path / "out"
    gone = replace(run.task, validation=str(tmp_path / "gone.jsonl"))
    named = [NamedTask(name=name, data=str(tmp_path / "nowhere")) for name in ("glue/rte", "glue/mrpc")]
    wrong = [replace(run, task=gone), *(replace(run, task=task) for task in named), replace(run, backbone="embeded")]
    with pytest.raises(InputError) as caught:
        sweep([run, *wrong, *wrong], out, executor=unused, quiet=True)
    assert str(caught.value).splitlines() == [
        "backbone 'embeded': there is no such folder, and no model of the Hub has that name. Did you mean embedded?",
        f"  data {tmp_path / 'nowhere'}: there is no such folder, for glue/mrpc, glue/rte.",
        f"  {tmp_path / 'gone.jsonl'} does not exist (looked in {Path.cwd()}).",
    ]
    assert not out.exists()


def test_data_that_go_missing_during_a_sweep_are_no_failure_that_stays(tmp_path):
    run, out = experiment(tmp_path), tmp_path / "out"

    def loses_a_file(jobs, progress):
        Path(run.task.train).unlink()
        yield from here(jobs, progress)

    swept = sweep([run], out, executor=loses_a_file, quiet=True)
    assert "is not there" in swept.failed[experiment_key(with_checksums(replace(run, task=rows(tmp_path))))]
    assert not list(out.glob("*.failed.json"))
    again = sweep([run], out, executor=here, quiet=True)
    assert (len(again.results), again.failed) == (1, {})


def test_a_damaged_result_is_a_failure_that_says_so_and_holds_up_no_other(tmp_path):
    runs, out = [experiment(tmp_path, seed=seed) for seed in (1, 2)], tmp_path / "out"
    for name in (experiment_key(runs[0]), "another"):
        (out / name).mkdir(parents=True)
        (out / name / RESULT).write_text("{}")
    before = forecast(runs, out)
    assert (before.done, before.failed, before.costs[0].runs) == (0, 1, 1)
    swept = sweep(runs, out, executor=here, quiet=True)
    assert list(swept.results) == [experiment_key(runs[1])]
    reason = swept.failed[experiment_key(runs[0])]
    assert reason.startswith(f"{out / experiment_key(runs[0]) / RESULT} is not a result of this version")
    assert reason.endswith("Delete that file, and the run is done again.")
    assert (out / experiment_key(runs[0]) / RESULT).read_text() == "{}"


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


@pytest.mark.slow
def test_a_killed_sweep_ends_its_process_and_goes_on_where_it_was(tmp_path):
    """The same sweep, started again, ends with what an undisturbed run finds."""
    run = replace(experiment(tmp_path, epochs=30), text=Text(source_length=32))
    output = tmp_path / "out"
    process = start(program(tmp_path, [run]), output)
    wait_for((output / experiment_key(run) / "checkpoint.safetensors").exists)
    (worker,) = attempting(psutil.Process(process.pid))
    process.kill()
    process.communicate()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    wait_for(lambda: free(output / f"{experiment_key(run)}.lock"))
    assert not (output / experiment_key(run) / RESULT).exists()
    swept = sweep([run], output, executor=here, quiet=True)
    assert (swept.failed, swept.elsewhere) == ({}, ())
    result = swept.results[experiment_key(run)]
    undisturbed = sweep([run], tmp_path / "calm", executor=here, quiet=True).results[experiment_key(run)]
    assert result.metrics == undisturbed.metrics
    assert [entry["loss"] for entry in result.history] == [entry["loss"] for entry in undisturbed.history]


@pytest.mark.slow
def test_a_run_whose_process_is_killed_twice_has_failed_and_holds_up_no_other(tmp_path):
    victim, other = experiment(tmp_path, epochs=5000), experiment(tmp_path, seed=1)
    output = tmp_path / "out"
    with ThreadPoolExecutor() as pool:
        future = pool.submit(sweep, [victim, other], output, executor=local_executor(1), quiet=True)
        for _ in range(_ATTEMPTS):
            holder = wait_for(lambda: holding(output / f"{experiment_key(victim)}.lock"))
            holder.kill()
            holder.wait()
        swept = future.result()
    assert "-9: killed" in swept.failed[experiment_key(victim)]
    assert list(swept.results) == [experiment_key(other)]


def holding(lock):
    """The process of ours that has a lock file open."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(file.path == str(lock) for file in process.open_files()):
                return process
    return None


@pytest.mark.slow
def test_an_interrupted_sweep_stops_its_processes_and_says_how_to_go_on(tmp_path):
    run = experiment(tmp_path, epochs=5000)
    output = tmp_path / "out"
    process = start(program(tmp_path, [run]), output)
    wait_for((output / experiment_key(run) / "checkpoint.safetensors").exists)
    (worker,) = attempting(psutil.Process(process.pid))
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1]
    assert process.returncode == 130, errors
    assert "The same command continues" in errors
    assert not psutil.pid_exists(worker.pid)
    assert (output / experiment_key(run) / "checkpoint.safetensors").exists()
    assert not (output / f"{experiment_key(run)}.failed.json").exists()
