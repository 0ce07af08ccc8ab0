"""The papers' tables as lists of experiments (Compacter, appendix A)."""

from pathlib import Path

import pytest

from hyperadapters import METHODS, attach, load_backbone
from hyperadapters.sweeps.experiment_files import load_experiments
from hyperadapters.sweeps.keys import experiment_key

FOLDER = Path(__file__).parents[2] / "experiments"
LISTS = sorted(path.stem for path in FOLDER.glob("*.py") if "def experiments()" in path.read_text(encoding="utf-8"))
TABLES = [name for name in LISTS if name not in ("transfer", "frozen_entry")]
"""Those start from trained models: `test_multitask.py`, and below."""


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_a_list_of_different_experiments(table):
    found = load_experiments(FOLDER / f"{table}.py")
    assert found
    assert len({experiment_key(experiment) for experiment in found}) == len(found)


def test_an_entry_alone_is_trained_at_every_rate_beside_a_run_of_everything(tmp_path, monkeypatch):
    for method in ("hyperformer++", "hyper-compacter"):
        attach(load_backbone()[0], method, tasks=("demo/paraphrase", "demo/sentiment")).save(tmp_path / method)
    monkeypatch.setenv("STARTS", str(tmp_path))
    found = load_experiments(FOLDER / "frozen_entry.py")
    assert len({experiment_key(experiment) for experiment in found}) == len(found) == 16
    assert [experiment.training.lr for experiment in found if not experiment.start.freeze] == [3e-4, 1e-3]
    assert {experiment.training.steps for experiment in found} == {200}


LONG = ("mrpc", "cola", "stsb", "rte", "boolq", "cb", "copa", "wic")
"""Tasks of 20 epochs; the others have 3."""
BASE_RATES = {"full": 3e-4, "houlsby": 3e-4, "pfeiffer": 3e-4, "adapterdrop": 3e-4, "bitfit": 3e-4, "lowrank": 3e-3,
              "phm": 3e-3, "compacter": 3e-3, "compacter++": 3e-3, "prompt-r": 3e-2, "prompt-t": 3e-1,
              "intrinsic-said": 3e-2}  # fmt: skip
GLUE_ROWS = {"backbone": "t5-base", "source": 128, "batch": 100, "warmup": 500, "widths": {24}, "n": {4, 8, 12}}
EXPECTED = {
    "table1": {**GLUE_ROWS, "n": {4, 12}, "rates": BASE_RATES},
    "table6": {**GLUE_ROWS, "rates": {name: BASE_RATES[name] for name in
                                      ("phm", "compacter", "compacter++", "intrinsic-said")}},
    "table7": {**GLUE_ROWS, "rates": {**{name: BASE_RATES[name] for name in
               ("pfeiffer", "adapterdrop", "lowrank", "bitfit", "phm", "compacter", "compacter++")}, "houlsby": 3e-3}},
    "table2": {**GLUE_ROWS, "source": 256, "batch": 32, "warmup": 0, "rates": {**BASE_RATES, "intrinsic-said": 3e-3}},
    "table9": {**GLUE_ROWS, "backbone": "t5-small", "warmup": 0, "widths": {16, 32, 64}, "n": {4, 8, 16},
               "rates": {**BASE_RATES, "houlsby": 3e-3, "adapterdrop": 3e-3, "bitfit": 3e-3}},
}  # fmt: skip
"""The papers' settings (Compacter, appendix A), as they were gathered from the paper."""
RECORD = {"source": 512, "target": 128, "batch": 16}


def preset_of(method):
    """The preset that a method is a size of."""
    plain = {"bottleneck", "n", "output_layer", "intrinsic_dim", "init", "activation", "projector_init"}
    mine = {key: value for key, value in vars(method).items() if key not in plain}
    found = [
        name
        for name, preset in METHODS.items()
        if type(preset) is type(method) and {k: v for k, v in vars(preset).items() if k not in plain} == mine
    ]
    return found[0]


@pytest.mark.parametrize("table", EXPECTED)
def test_a_table_of_compacter_trains_as_the_paper_says(table):
    expected, seen = EXPECTED[table], {"widths": set(), "n": set(), "rates": {}}
    for run in load_experiments(FOLDER / f"{table}.py"):
        name, training, task = preset_of(run.method), run.training, run.task.name.partition("/")[2]
        of_task = {**expected, **(RECORD if task == "record" else {})}
        assert (run.backbone, run.text.source_length) == (of_task["backbone"], of_task["source"])
        assert run.text.target_length == of_task.get("target", 16)
        assert (training.batch_size, training.warmup_steps) == (of_task["batch"], of_task["warmup"])
        assert (training.epochs, training.steps) == (20 if task in LONG else 3, None)
        assert (training.weight_decay, training.max_grad_norm, training.label_smoothing) == (0.0, 1.0, 0.0)
        assert (run.evaluation.decode, run.evaluation.beams) == ("generate", 1)
        assert getattr(run.method, "output_layer", False) == (table == "table7")
        assert seen["rates"].setdefault(name, training.lr) == training.lr
        seen["widths"] |= {getattr(run.method, "bottleneck", 24 if table != "table9" else 16)}
        seen["n"] |= {run.method.n} if hasattr(run.method, "n") else set()
    assert seen == {key: expected[key] for key in seen}


def test_intrinsic_said_is_in_table_6_in_five_sizes():
    sizes = [run.method.intrinsic_dim for run in settings("table6", "glue/rte") if hasattr(run.method, "intrinsic_dim")]
    assert sizes == [400, 1400, 2500, 10_000, 20_000]


def test_houlsby_trains_as_the_paper_says():
    """Adam, batches of 32, 128 tokens, three rates, 3 or 20 epochs, warm-up over a tenth, erf-GELU, its own start."""
    runs = load_experiments(FOLDER / "houlsby.py")
    assert {run.training.lr for run in runs} == {3e-5, 3e-4, 3e-3}
    assert {run.training.epochs for run in runs} == {3, 20}
    assert {(run.training.batch_size, run.text.source_length) for run in runs} == {(32, 128)}
    adapters = [run.method for run in runs if hasattr(run.method, "bottleneck")]
    assert {(m.bottleneck, m.activation, m.init) for m in adapters} == {
        (size, "gelu", "truncated") for size in (8, 64, 256)
    }
    (run,) = [r for r in runs if r.task.name == "glue/rte" and r.training.epochs == 20 and r.training.lr == 3e-4
              and getattr(r.method, "bottleneck", 0) == 64]  # fmt: skip
    assert run.training.warmup_steps == 20 * 2490 // 32 // 10


def test_hyperformer_trains_as_the_paper_says():
    runs = load_experiments(FOLDER / "hyperformer.py")
    for run in runs:
        training, together = run.training, hasattr(run.task, "names")
        assert (training.lr, training.batch_size, training.label_smoothing) == (3e-4, 128, 0.1)
        assert (training.warmup_steps, run.text.source_length) == (500, 128)
        assert training.steps == (65_536 if together else None)
        assert not together or (len(run.task.names), run.task.temperature) == (8, 10.0)
        wide = {"t5-small": {16, 32}, "t5-base": {24, 48}}[run.backbone]
        assert getattr(run.method, "bottleneck", min(wide)) in wide
        assert getattr(run.method, "projector_init", "published") == "published"
    assert {preset_of(run.method) for run in runs} == {
        "full", "houlsby", "full-multitask", "adapters-multitask", "hyperformer", "hyperformer++"
    }  # fmt: skip


def settings(table, task):
    """The runs of a table on a task."""
    return [e for e in load_experiments(FOLDER / f"{table}.py") if e.task.name == task]


def test_the_low_resource_figure_has_five_seeds_and_never_more_rows_than_there_are():
    runs = settings("low_resource", "glue/rte")
    assert len(runs) == 2 * 5 * 5
    assert {(run.text.train_rows, run.training.epochs) for run in runs} == {
        (100, 1000),
        (500, 200),
        (1000, 100),
        (2000, 50),
        (2490, 25),
    }
