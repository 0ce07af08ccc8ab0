"""Mixtures and transfer as lists of experiments, and their tables from results."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from conftest import UNSEEN, make_tiny
from hyperadapters import Cost, InputError, MixtureTask, Result, attach
from hyperadapters.runs.result import RESULT
from hyperadapters.sweeps.experiment_files import load_experiments
from hyperadapters.sweeps.keys import experiment_key

FOLDER = Path(__file__).parents[2] / "experiments"
BLANK = {
    **UNSEEN,
    "method": "",
    "total": 100,
    "percent": 10.0,
    "by_kind": {},
    "bytes": 1,
    "history": [],
    "versions": {},
    "rows": {},
    "rows_available": {},
}


def finished(folder, experiment, metrics):
    """A run's result file, and the adapter that it left."""
    place = folder / experiment_key(experiment)
    mixed = isinstance(experiment.task, MixtureTask)
    tasks = experiment.task.names if mixed else ()
    attach(make_tiny(), experiment.method, tasks=tasks).save(place)
    values = {"experiment": experiment.to_json(), "metrics": {"test": metrics}, "trained": 10, "cost": Cost(*[0] * 6)}
    name = "+".join(tasks) if mixed else experiment.task.name
    (place / RESULT).write_text(json.dumps(asdict(Result(**{**BLANK, **values, "task": name}))))


def test_all_arms_of_a_mixture_see_as_many_rows_and_have_one_seed_before_any_has_two():
    found = load_experiments(FOLDER / "multitask.py")
    seeds = [e.training.seed for e in found]
    assert seeds == sorted(seeds)
    first = found[: seeds.count(seeds[0])]
    mixed = {e.training.steps for e in first if isinstance(e.task, MixtureTask)}
    single = [e.training.steps for e in first if not isinstance(e.task, MixtureTask)]
    assert mixed == {sum(single)}
    assert len(single) == len(first[0].task.names)


def test_so_do_those_on_an_encoder_and_each_is_raced_over_rates_alone(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import encoder_mixture

    for method, rates in encoder_mixture.ARMS.items():
        runs = encoder_mixture.runs_of(method)
        assert len({(e.task, e.training.lr) for e in runs}) == len(runs)
        for rate in rates:
            assert sum(e.training.steps for e in runs if e.training.lr == rate) == encoder_mixture.STEPS


@pytest.fixture
def models(tmp_path, monkeypatch):
    """What two arms and the single-task adapters of the first seed left."""
    monkeypatch.setenv("STARTS", str(tmp_path))
    found = load_experiments(FOLDER / "multitask.py")
    names = found[0].task.names
    ends = [name.split("/")[-1] for name in names]
    for e in found[: 6 + len(names)]:
        alone = not isinstance(e.task, MixtureTask)
        if alone or type(e.method).__name__ in ("FullMultiTask", "HyperFormerPlusPlus"):
            scores = {"accuracy": 0.5} if alone else {f"{end}.f1": 0.25 for end in ends} | {"rte.accuracy": 0.75}
            finished(tmp_path, e, scores)
    return tmp_path


def test_transfer_starts_from_every_model_there_is_few_rows_first(models):
    found = load_experiments(FOLDER / "transfer.py")
    assert len({experiment_key(e) for e in found}) == len(found) == 2 * 5 * 5 * (2 + 1 + 1)
    begun = {(type(e.method).__name__, e.task.name, e.start.like, e.start.freeze) for e in found}
    assert {like for *_, like, _ in begun} == {"glue/rte", "glue/sst2", ""}
    assert ("HyperFormerPlusPlus", "imdb", "glue/sst2", True) in begun
    single = {Path(e.start.adapter).name.split("_")[0] for e in found if e.task.name == "imdb" and not e.start.like}
    assert single == {"glue-sst2"}
    first = [e.text.train_rows for e in found if e.training.seed == 1 and e.task.name == "imdb"]
    assert first == sorted(first)


def test_without_a_trained_model_transfer_says_what_to_run_first(tmp_path, monkeypatch):
    monkeypatch.setenv("STARTS", str(tmp_path))
    with pytest.raises(InputError, match=r"no trained model in .*run experiments/multitask.py with --keep-adapters"):
        load_experiments(FOLDER / "transfer.py")


def test_the_tables_are_means_over_metrics_then_tasks(models, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER.parent)
    monkeypatch.syspath_prepend(FOLDER)
    from experiments.documents import multitask_tables

    table = multitask_tables.summarize_mixtures(models)
    assert set(table) == {"full-multitask", "hyperformer++", multitask_tables.SINGLE}
    (seed,) = table["hyperformer++"]["seeds"].values()
    assert (seed["rte"], seed["cola"]) == (50.0, 25.0)
    assert seed["average"] == pytest.approx((50 + 7 * 25) / 8)
    assert table[multitask_tables.SINGLE]["trained"] == 80
    assert re.search(r"\| single-task adapters *\| *80 \| *50\.0 \|", multitask_tables.mixture_table(table))
