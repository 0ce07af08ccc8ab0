"""Races: the better half goes on, and the winner is the run that it would have been alone."""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file
from sweep_runs import experiment, here, unused

from hyperadapters import InputError
from hyperadapters.delta.saving import TENSORS
from hyperadapters.runs.pausing import standing_before, standing_of, train_until
from hyperadapters.runs.result import RESULT
from hyperadapters.runs.running import run
from hyperadapters.sweeps.keys import _keyed
from hyperadapters.sweeps.racing import race

RATES = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1)


def field(tmp_path, **changes):
    """Runs of ten steps that differ in their rate alone."""
    return [experiment(tmp_path, lr=rate, steps=10, **changes) for rate in RATES]


def alone(winner, folder):
    """Return the tensors of a run by itself."""
    run(winner, folder, quiet=True)
    return load_file(folder / TENSORS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("race")


@pytest.fixture(scope="module")
def raced(folder):
    return race(field(folder), folder / "race", executor=here, keep=True, quiet=True)


@pytest.mark.slow
def test_the_winner_is_the_run_that_it_would_have_been_alone(raced, folder):
    (one,) = raced.races
    (key,) = raced.swept.results
    tensors = load_file(folder / "race" / key / TENSORS)
    for name, tensor in alone(one.experiment, folder / "alone").items():
        assert tensors[name].equal(tensor)


def test_half_of_the_runs_go_on_at_each_stop(raced):
    (one,) = raced.races
    assert [stop.share for stop in one.stops] == [0.1, 0.2, 0.4]
    assert [len(stop.scores) for stop in one.stops] == [5, 3, 2]
    assert [len(stop.kept) for stop in one.stops] == [3, 2, 1]
    assert one.winner == one.stops[-1].kept[0]
    assert (one.steps, one.grid_steps) == (5 * 1 + 3 * 1 + 2 * 2 + 6, 50)


def test_those_that_go_on_are_the_best_on_validation(raced):
    (one,) = raced.races
    for stop in one.stops:
        left_out = [score for name, score in stop.scores.items() if name not in stop.kept]
        assert min(stop.scores[name] for name in stop.kept) >= max(left_out)


def test_only_the_winner_is_tested(raced, folder):
    assert len([*(folder / "race").glob(f"*/{RESULT}")]) == 1


def test_a_race_that_is_over_is_not_run_again(raced, folder):
    assert race(field(folder), folder / "race", executor=unused, quiet=True) == raced


@pytest.mark.slow  # so does the run that was never paused, below
def test_a_race_with_another_rate_compares_runs_as_they_stood(tmp_path):
    first = race(field(tmp_path)[:3], tmp_path / "race", executor=here, quiet=True).races[0]
    wider = race(field(tmp_path)[:4], tmp_path / "race", executor=here, quiet=True).races[0]
    for early, late in zip(first.stops, wider.stops, strict=True):
        assert early.share == late.share
    assert {name: wider.stops[0].scores[name] for name in first.stops[0].scores} == first.stops[0].scores


def test_a_run_that_was_never_paused_is_compared_by_its_evaluations_until_then(tmp_path):
    ended = run(experiment(tmp_path, lr=1e-2, steps=10, evaluate_steps=1), tmp_path / "run", quiet=True)
    stood = standing_before(ended, 0.3)
    assert (stood.step, stood.total) == (3, 10)
    assert stood.score == max(entry["rank"] for entry in ended.history[:3])
    assert standing_before(ended, 0.01).step == 1
    training = {**ended.experiment["training"], "steps": None, "epochs": 40}
    early = replace(ended, experiment={**ended.experiment, "training": training})  # it ended out of patience
    assert standing_before(early, 0.5).step == 10


@pytest.mark.slow
def test_runs_are_raced_in_one_pass_too(tmp_path):
    (one,) = race(field(tmp_path)[:3], tmp_path / "race", executor=here, pack=1, quiet=True).races
    assert [len(stop.scores) for stop in one.stops] == [3, 2]
    assert (one.steps, one.grid_steps) == (3 * 2 + 2 * 2 + 6, 30)


@pytest.mark.slow
def test_seeds_of_a_setting_stay_together(tmp_path):
    runs = [run for seed in (1, 2) for run in field(tmp_path, seed=seed)[1:3]]
    found = race(runs, tmp_path / "race", executor=here, pack=1, quiet=True)
    assert len(found.races) == 1
    assert {result.experiment["training"]["seed"] for result in found.swept.results.values()} == {1, 2}
    assert {f"{result.experiment['training']['lr']}" for result in found.swept.results.values()} == {
        found.races[0].winner
    }


@pytest.mark.slow
def test_methods_are_raced_apart(tmp_path):
    from hyperadapters import METHODS

    runs = [replace(one, method=METHODS[name]) for name in ("compacter++", "houlsby") for one in field(tmp_path)[:2]]
    assert len(race(runs, tmp_path / "race", executor=here, pack=1, quiet=True).races) == 2


def test_a_pause_changes_no_bit_of_a_run(tmp_path):
    whole = experiment(tmp_path, lr=1e-2, steps=10)
    assert train_until(whole, tmp_path / "parts", 0.25).step == 3
    assert train_until(whole, tmp_path / "parts", 0.5).step == 5
    assert standing_of(tmp_path / "parts", 0.25).total == 10
    run(whole, tmp_path / "parts", resume=True, quiet=True)
    for name, tensor in alone(whole, tmp_path / "alone").items():
        assert load_file(tmp_path / "parts" / TENSORS)[name].equal(tensor)


@pytest.mark.slow
def test_a_run_out_of_patience_before_the_pause_takes_part_with_its_result(tmp_path):
    impatient = field(tmp_path, evaluate_steps=1, patience=1)[:2]
    (one,) = race(impatient, tmp_path / "race", executor=here, quiet=True).races
    assert one.winner in one.stops[-1].scores


def test_a_race_whose_runs_all_fail_says_why(tmp_path):
    wrong = [replace(one, text=replace(one.text, train_rows=999)) for one in field(tmp_path)[:2]]
    with pytest.raises(InputError, match="every run of the race .* failed: .*train_rows=999"):
        race(wrong, tmp_path / "race", executor=here, quiet=True)


def test_damaged_standings_are_named(tmp_path):
    runs = field(tmp_path)
    place = tmp_path / "race" / next(iter(_keyed(runs)))
    place.mkdir(parents=True)
    (place / "standings.json").write_text(json.dumps({"0.1": {"step": "many"}}))
    with pytest.raises(InputError, match="standings.json is damaged: delete it"):
        race(runs, tmp_path / "race", executor=here, quiet=True)
