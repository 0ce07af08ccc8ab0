"""A sweep's runs may be on several tasks together."""

from dataclasses import replace

import pytest
from sweep_runs import experiment, here, rows, unused

from hyperadapters import METHODS, MixtureTask, sweep
from hyperadapters._utils import read_json, write_json
from hyperadapters.runs.result import RESULT
from hyperadapters.sweeps.jobs import _Job, _settled
from hyperadapters.sweeps.keys import _keyed
from hyperadapters.sweeps.racing import race


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mixtures")


@pytest.fixture(scope="module")
def runs(folder):
    """Two rates on two tasks together."""
    task = MixtureTask(tasks=tuple(replace(rows(folder), name=name) for name in ("one", "other")))
    base = replace(experiment(folder, steps=5), method=METHODS["hyperformer++"], task=task)
    return [replace(base, training=replace(base.training, lr=rate)) for rate in (1e-4, 1e-3)]


@pytest.fixture(scope="module")
def swept(runs, folder):
    return sweep(runs, folder / "out", executor=here, quiet=True)


def test_each_is_done_once(runs, swept, folder):
    assert not swept.failed
    assert len(swept.results) == 2
    assert sweep(runs, folder / "out", executor=unused, quiet=True).results == swept.results


def test_a_result_of_other_data_is_told_by_its_task_and_split(runs, swept, folder):
    key, planned = next(iter(_keyed(runs).items()))
    values = planned.to_json()
    assert _settled(_Job(key, values, str(folder / "out"), keep=False)).outcome == "done"
    values["task"]["tasks"][1]["checksums"]["train"] = "0" * 64
    found = _settled(_Job(key, values, str(folder / "out"), keep=False))
    assert found.outcome == "failed"
    assert "is of other data (other.train: SHA-256" in found.reason


def test_a_result_with_a_setting_of_another_release_stands(runs, swept, folder):
    key, planned = next(iter(_keyed(runs).items()))
    made = {name: value for name, value in read_json(folder / "out" / key / RESULT).items() if name != "checksum"}
    made["experiment"]["training"]["of_another_release"] = 1
    place = folder / "elsewhere" / key
    place.mkdir(parents=True)
    write_json(place / RESULT, made)
    assert _settled(_Job(key, planned.to_json(), str(place.parent), keep=False)).outcome == "done"


def test_they_are_raced(runs, folder):
    (one,) = race(runs, folder / "race", executor=here, quiet=True).races
    assert [len(stop.kept) for stop in one.stops] == [1]
    assert one.experiment in _keyed(runs).values()
