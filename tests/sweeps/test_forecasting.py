"""What a sweep would cost: counted from its experiments, timed from finished runs or from steps on this machine."""

from dataclasses import replace

import pytest
from sweep_runs import experiment, here, rows

from hyperadapters import METHODS, Experiment, NamedTask, Text, Training
from hyperadapters.cli.sweeping import _forecast_lines
from hyperadapters.sweeps.forecasting import _answered_tokens, forecast
from hyperadapters.sweeps.jobs import _Job, _record_failure
from hyperadapters.sweeps.keys import experiment_key
from hyperadapters.sweeps.sampling import _Sample
from hyperadapters.sweeps.sweeping import sweep
from hyperadapters.training.schedule import Schedule


def length(row):
    return len(row.source) + len(row.target)


@pytest.mark.slow
def test_a_forecast_counts_what_is_left(tmp_path):
    runs = [experiment(tmp_path, epochs=epochs) for epochs in (1, 3)]
    before = forecast(runs, tmp_path / "out")
    assert (before.done, before.costs[0].runs, before.costs[0].steps) == (0, 2, 3 + 9)
    assert before.basis == [f"hours from steps and answers timed here: {runs[0].backbone} with compacter++"]
    assert before.costs[0].seconds > 0
    swept = sweep(runs[:1], tmp_path / "out", executor=here, quiet=True)
    (result,) = swept.results.values()
    after = forecast(runs, tmp_path / "out")
    assert (after.done, after.costs[0].runs, after.costs[0].steps) == (1, 1, 9)
    assert after.costs[0].tokens == 3 * result.tokens
    assert after.costs[0].seconds == pytest.approx(3 * result.seconds, rel=0.01)
    assert after.basis == [f"hours from finished runs in {tmp_path / 'out'}: {runs[0].backbone} with compacter++"]


@pytest.mark.slow
def test_a_forecast_rests_on_runs_of_the_same_size(tmp_path):
    small, large = (replace(experiment(tmp_path), method=replace(METHODS["houlsby"], bottleneck=d)) for d in (4, 8))
    sweep([small], tmp_path / "out", executor=here, quiet=True)
    (basis,) = forecast([large], tmp_path / "out").basis
    assert basis == f"hours from steps and answers timed here: {large.backbone} with houlsby (bottleneck = 8)"


def test_a_forecast_leaves_out_what_failed_for_good_unless_it_is_tried_again(tmp_path):
    run = experiment(tmp_path)
    _record_failure(_Job(experiment_key(run), run.to_json(), str(tmp_path), keep=False), "the loss is inf", final=True)
    left = forecast([run], tmp_path)
    assert (left.done, left.failed, left.costs) == (0, 1, [])
    assert "1 failed and are left alone; --retry-failed tries again what failed for good" in _forecast_lines(left, 1)
    again = forecast([run], tmp_path, retry=True)
    assert (again.failed, again.costs[0].runs) == (0, 1)


def test_a_forecast_counts_the_rows_that_are_answered(tmp_path):
    sample = _Sample(experiment(tmp_path))
    assert _answered_tokens(
        sample, Schedule.of(experiment(tmp_path, epochs=2, evaluate_steps=1).training, 24)
    ) == 7 * sample.tokens("validation")
    assert _answered_tokens(sample, Schedule.of(experiment(tmp_path, epochs=2).training, 24)) == 3 * sample.tokens(
        "validation"
    )


def test_a_forecast_knows_how_many_rows_there_are_where_it_reads_some(tmp_path):
    many = replace(experiment(tmp_path), task=rows(tmp_path, count=1000), text=Text(evaluation_rows=40))
    sample = _Sample(many)
    assert sample.rows == {"train": 1000, "validation": 40}
    assert [len(found) for found in sample.data.splits.values()] == [512, 32]
    assert sample.tokens("train") == pytest.approx(1000 * sum(map(length, sample.data.splits["train"])) / 512)
    (cost,) = forecast([many], tmp_path / "out").costs
    assert (cost.steps, cost.tokens) == (125, round(sample.tokens("train")))


def test_a_forecast_times_fewer_rows_where_a_batch_takes_long_and_adds_the_pace_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr("hyperadapters.sweeps.sampling._LONGEST_STEP", 0.0)
    monkeypatch.setattr("hyperadapters.sweeps.forecasting._TIMED_SECONDS", 0.0)
    base = replace(experiment(tmp_path), backbone="embedded")
    runs = [replace(base, method=METHODS[name]) for name in ("bitfit", "compacter++")]
    found = forecast(runs, tmp_path / "out", jobs=2)
    assert found.costs[0].seconds > 0
    assert found.basis == [
        "hours from steps and answers timed here: embedded with bitfit",
        "hours from the median of the timed methods: embedded with compacter++",
    ]


def test_no_hours_are_forecast_for_a_backbone_that_is_not_here(tmp_path):
    found = forecast([replace(experiment(tmp_path), backbone="t5-base")], tmp_path / "out")
    assert (found.costs[0].steps, found.costs[0].seconds) == (3, None)
    assert found.basis == [
        "no hours, and tokens by the embedded tokenizer (the backbone is not here): t5-base with compacter++"
    ]
    assert [*_forecast_lines(found, 1)[0].columns[-1].cells] == ["unknown", "unknown"]


def test_a_forecast_says_what_it_could_not_count(tmp_path):
    run = Experiment(
        method=METHODS["full"], task=NamedTask(name="glue/rte", data=str(tmp_path)), training=Training(lr=1)
    )
    found = forecast([run], tmp_path / "out")
    assert not found.costs
    assert "lacks train.tsv" in found.unknown["glue/rte"]
    said = [line for line in _forecast_lines(found, 1) if isinstance(line, str)]
    assert said[0].startswith("not counted: glue/rte")
    assert said[-1].startswith("0 done already")
