"""Sweeps on a Ray cluster: what travels, what a lost node costs; with a real cluster of two nodes on this machine."""

import json
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest
from sweep_runs import experiment, here, unused

from hyperadapters import InputError
from hyperadapters.sweeps.jobs import _Job, _record_failure
from hyperadapters.sweeps.keys import experiment_key
from hyperadapters.sweeps.ray_cluster import (
    _attempt_away,
    _read_files,
    _share_of,
    _slot_resources,
    _write_files,
    ray_executor,
)
from hyperadapters.sweeps.sweeping import sweep


def job_of(run, folder, *, keep=False):
    return _Job(experiment_key(run), run.to_json(), str(folder), keep)


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("keep", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_away_leaves_the_files_that_a_run_here_does(tmp_path, keep):
    run = experiment(tmp_path)
    sweep([run], tmp_path / "here", executor=here, keep=keep, quiet=True)
    job = job_of(run, tmp_path / "away", keep=keep)
    report, found = _attempt_away({"key": job.key, "experiment": job.experiment, "folder": "nowhere", "keep": keep}, {})
    assert report["outcome"] == "done"
    _write_files(job, found)
    assert tree(tmp_path / "away") == [name for name in tree(tmp_path / "here") if not name.endswith(".lock")]
    assert list(sweep([run], tmp_path / "away", executor=unused, quiet=True).results) == [job.key]


def test_a_run_away_goes_on_from_what_is_here_of_it(tmp_path):
    """One failure is on record; the run's data are wrong, so what comes back is that it has failed for good."""
    run = experiment(tmp_path)
    job = job_of(run, tmp_path / "out")
    job.place.mkdir(parents=True)
    (job.place / "experiment.json").write_text(json.dumps(run.to_json()))
    _record_failure(job, "its task was lost")
    assert set(_read_files(job)) == {f"{job.key}.failed.json", f"{job.key}/experiment.json"}
    (tmp_path / "rows.jsonl").write_text("no JSON\n")
    report, found = _attempt_away({"key": job.key, "experiment": job.experiment, "folder": "", "keep": False},
                                 _read_files(job))  # fmt: skip
    assert report["outcome"] == "failed"
    _write_files(job, found)
    (reason,) = sweep([run], tmp_path / "out", executor=here, quiet=True).failed.values()
    assert "not JSON" in reason


def test_a_run_gets_a_gpu_where_there_are_any():
    assert _share_of({"CPU": 8}, 1, None) == {"CPU": 1, "GPU": 0}
    assert _share_of({"CPU": 8, "GPU": 2}, 2, None) == {"CPU": 2, "GPU": 1}
    assert _share_of({"CPU": 8, "GPU": 2}, 2, 0.5) == {"CPU": 2, "GPU": 0.5}


def test_room_is_counted_node_by_node_and_dead_nodes_have_none():
    nodes = [
        {"Alive": True, "Resources": {"CPU": 3, "GPU": 1}},
        {"Alive": True, "Resources": {"CPU": 3}},
        {"Alive": False, "Resources": {"CPU": 64}},
    ]
    assert _slot_resources(nodes, {"CPU": 2, "GPU": 0}) == 2
    assert _slot_resources(nodes, {"CPU": 1, "GPU": 0.5}) == 2
    with pytest.raises(InputError, match="no node has room for a run .*CPU 4.*CPU 3, GPU 1; CPU 3, GPU 0.* --cpus"):
        _slot_resources(nodes, {"CPU": 4, "GPU": 0})


def test_without_ray_and_with_shares_of_nothing_the_error_says_what_to_do(monkeypatch):
    with pytest.raises(InputError, match="--cpus 0 --gpus 0: a run needs some of a CPU"):
        ray_executor(cpus=0)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'hyperadapters\[ray\]'"):
        ray_executor()


@pytest.fixture
def cluster(monkeypatch):
    """A driver's node without CPUs, and two with one each."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


def at_work(node):
    """Whether a run is under way on a node: its task has a process, and that has used its CPU a while."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    tasks = [p for p in raylet.children() if p.cmdline()[:1] == ["ray::attempt_away"]]
    return any(sum(task.cpu_times()[:2]) > 1 for task in tasks)


@pytest.mark.cluster
def test_a_sweep_survives_the_loss_of_a_node_and_ends_with_every_result(tmp_path, cluster):
    cluster, nodes = cluster
    long, *others = [experiment(tmp_path, seed=seed, epochs=epochs) for seed, epochs in ((1, 40), (2, 1), (3, 1))]
    runs = [*others, long]

    def lose_a_node():
        while not all(at_work(node) for node in nodes):
            time.sleep(0.1)
        cluster.remove_node(nodes[1], allow_graceful=False)

    loss = threading.Thread(target=lose_a_node)
    loss.start()
    swept = sweep(runs, tmp_path / "out", executor=ray_executor(), quiet=True)
    loss.join()
    assert (list(swept.results), swept.failed) == ([experiment_key(run) for run in runs], {})
    (record,) = (tmp_path / "out").glob("*.failed.json")
    assert "its task was lost: " in record.read_text()
    calm = sweep([replace(runs[0])], tmp_path / "calm", executor=here, quiet=True)
    assert swept.results[experiment_key(runs[0])].metrics == calm.results[experiment_key(runs[0])].metrics
