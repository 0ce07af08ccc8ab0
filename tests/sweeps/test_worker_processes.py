"""Jobs in processes of this machine; what real kills leave is in test_sweeping."""

import pytest

from hyperadapters.sweeps.jobs import _Job
from hyperadapters.sweeps.processes import _WorkerProcess


@pytest.mark.parametrize(("visible", "expected"), [("4,5", ["4", "5", "4"]), ("7", ["7", "7", "7"])])
def test_gpus_are_dealt_out_in_turn(visible, expected, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [_WorkerProcess(number, 3)._environment()["CUDA_VISIBLE_DEVICES"] for number in range(3)] == expected


@pytest.mark.slow  # an interrupted sweep is in `make check`
def test_a_worker_that_is_interrupted_before_it_starts_does_nothing(tmp_path, monkeypatch):
    worker = _WorkerProcess(0, 1)
    job = _Job("a", {}, str(tmp_path), keep=False)
    begin = worker._start

    def slowly(log):
        worker.interrupt()  # before there is a process to pass it on to
        return begin(log)

    monkeypatch.setattr(worker, "_start", slowly)
    assert worker.do(job).outcome == "stopped"
    assert worker.process is None
    assert worker.do(job).outcome == "stopped"
    assert not list(tmp_path.glob("a*"))
