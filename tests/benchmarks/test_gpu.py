"""The one command for a GPU: its rehearsal, what it does with entries that fail, and the verdicts it draws."""

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPT = FOLDER / "gpu.py"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("gpu")


@pytest.fixture
def verdicts(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("gpu_verdicts")


@pytest.fixture
def place(gpu, tmp_path):
    (tmp_path / "work").mkdir()
    return gpu.Place(tmp_path / "work", "cpu")


def entry(gpu, tmp_path, name, code, seconds=60, least=1):
    script = tmp_path / f"{name}.py"
    script.write_text(code, encoding="utf-8")
    return gpu.Entry(name, "a script of this test", str(script), seconds, least, "", "")


def run(*options):
    return subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, check=False)


REPORTS = """
import pathlib, sys
pathlib.Path(sys.argv[sys.argv.index("--output") + 1]).write_text('{"figure": 1}')
"""


@pytest.mark.slow
def test_the_rehearsal_runs_every_entry_and_settles_every_decision(tmp_path, verdicts):
    done = run("--rehearse", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + "".join(p.read_text() for p in tmp_path.glob("*.json"))
    triton = importlib.util.find_spec("triton") is not None
    skipped = {"adapters", *([] if triton else ["kernel"])}
    states = {line.split()[0]: line.split()[1] for line in done.stdout.split("\n\n")[1].splitlines()}
    assert states == {name: "skipped" if name in skipped else "done" for name in verdicts.ENTRIES}
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted({*verdicts.ENTRIES} - skipped)
    said = run("--settle", str(tmp_path))
    assert said.returncode == 0, said.stderr
    verdict = {line.split(": ")[0]: line for line in said.stdout.splitlines()}
    for name, (by, _) in verdicts.VERDICTS.items():
        assert (": open" in verdict[name]) == (by in skipped or name == "CUDA graphs"), verdict[name]


@pytest.mark.slow  # starts processes
def test_entries_that_fail_or_run_over_do_not_stop_the_others(gpu, place, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "BEGINNING", 0)
    monkeypatch.setattr(gpu, "ENDING", 0)
    entries = [
        entry(gpu, tmp_path, "fails", "raise SystemExit('the reason')"),
        entry(gpu, tmp_path, "sleeps", f"{REPORTS}\nimport time; time.sleep(600)", seconds=3),
        entry(gpu, tmp_path, "works", REPORTS),
    ]
    outcomes = gpu.run_all(entries, place, tmp_path / "out", {}, toy=False, end=time.monotonic() + 600)
    assert [outcome.state for outcome in outcomes] == ["failed", "out of time", "done"]
    assert outcomes[0].why == "the reason"
    assert "stopped after" in outcomes[1].why
    written = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out").iterdir()}
    assert {name: file["state"] for name, file in written.items()} == {
        "fails": "failed",
        "sleeps": "out of time",
        "works": "done",
    }
    assert written["sleeps"]["report"] == written["works"]["report"] == {"figure": 1}


def test_what_does_not_fit_in_the_time_left_is_skipped_and_shorter_ones_go_on(gpu, place, tmp_path):
    entries = [entry(gpu, tmp_path, "long", REPORTS, least=200), entry(gpu, tmp_path, "short", REPORTS)]
    outcomes = gpu.run_all(entries, place, tmp_path / "out", {}, toy=False, end=time.monotonic() + 100)
    assert [outcome.state for outcome in outcomes] == ["skipped", "done"]
    assert outcomes[0].why.endswith("s were left")


def test_the_list_names_the_entries_in_order_of_worth(verdicts):
    assert tuple(line.split()[0] for line in run("--list").stdout.splitlines()) == verdicts.ENTRIES


def test_an_unknown_entry_is_refused_with_those_there_are():
    refused = run("--only", "step,steps", "--list")
    assert refused.returncode == 1
    assert refused.stderr == (
        "there is no entry steps: it may be step, kernel, packed, pool, compile, cost, said, adapters.\n"
    )


def test_missing_packages_are_all_named_with_the_command_that_brings_them(gpu):
    found = {"lacking": ["pydantic>=2.10", "transformers>=5.10 (here is 4.57.6)"], "broken": {}, "python": "3.12.3"}
    with pytest.raises(SystemExit) as refused:
        gpu.refuse_if_lacking(found)
    said = str(refused.value)
    assert said.startswith("missing here: pydantic>=2.10, transformers>=5.10 (here is 4.57.6).")
    assert "--python-version 3.12 " in said
    assert "'pydantic>=2.10' 'transformers>=5.10'" in said


def test_a_script_that_cannot_be_loaded_is_named_with_the_reason(gpu):
    why = {"lacking": [], "broken": {"pool": "ModuleNotFoundError: No module named 'x'"}}
    with pytest.raises(SystemExit, match="pool: ModuleNotFoundError: No module named 'x'"):
        gpu.refuse_if_lacking(why)


def test_the_check_compares_what_is_there_with_what_the_package_needs(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    check = importlib.import_module("gpu_check")
    assert check.lacking() == []
    needs = 'dependencies = ["torch>=2.9", "not-there-at-all>=1", "numpy>=1000"]'
    (tmp_path / "pyproject.toml").write_text(f"[project]\n{needs}\n", encoding="utf-8")
    monkeypatch.setattr(check, "FOLDER", tmp_path / "benchmarks")
    missing = check.lacking()
    assert missing[0] == "not-there-at-all>=1"
    assert missing[1].startswith("numpy>=1000 (here is ")
    assert len(missing) == 2


def write(folder, entry, report):
    file = {"entry": entry, "state": "done", "why": "", "report": {"device": "a card", **report}}
    (folder / f"{entry}.json").write_text(json.dumps(file), encoding="utf-8")


def step(compiled, lora):
    seconds = {"compacter++": {"seconds": 1.0}, "peft LoRA r=8 (q, v)": {"seconds": lora}}
    return {"variants": {**seconds, "compiled compacter++": {"time_over_floor": compiled}}}


def kernel(*fused):
    return {"milliseconds": {f"{i} adapters": {"fused": f, "compiled": 1.0, "eager": 2.0} for i, f in enumerate(fused)}}


def packed(*ratios):
    return {"shapes": {f"shape{i}": {"ratio": ratio} for i, ratio in enumerate(ratios)}}


def pool(many):
    return {"Compacter++": {"resident": {"64": {"decoding": {"pool, one task": 0.8, "pool, many tasks": many}}}}}


def compiled(*passes, graphs=None):
    seconds = {"eager": 0.05, "compiled": 0.04, **({} if graphs is None else {"graphs": graphs})}
    shape = {"graph_seconds": {"compiled": [30.0, 20.0]}, "pass_seconds": seconds, "failed": {}}
    return {"shapes": {f"shape{i}": {**shape, "passes": {"compiled": number}} for i, number in enumerate(passes)}}


@pytest.mark.parametrize(
    ("entry", "report", "said"),
    [
        ("step", step(1.04, 1.3), "step over the floor: met: compiled Compacter++ takes 1.040"),
        ("step", step(1.06, 1.3), "step over the floor: missed"),
        ("step", step(1.04, 1.3), "step beside LoRA: met: Compacter++ has 1.30 times"),
        ("step", step(1.04, 1.1), "step beside LoRA: missed"),
        ("kernel", kernel(0.5, 0.9), "kernel: kept. It takes 0.50 with 0 adapters, 0.90 with 1 adapters"),
        ("kernel", kernel(0.5, 1.2), "kernel: kept for batches with 0 adapters alone."),
        ("kernel", kernel(1.0, 1.2), "kernel: deleted."),
        ("packed", packed(4.0, 8.5), "packing: packing stays: times as fast as one run after the other: 4.0 at shape0"),
        ("packed", packed(4.0, 7.9), "packing: packing goes"),
        ("pool", pool(0.8), "many tasks: met: many tasks have of one task's throughput 1.000 (decoding, 64 resident)"),
        ("pool", pool(0.7), "many tasks: missed"),
        ("compile", compiled(1234, 560), "WORTH_COMPILING: WORTH_COMPILING = 1300. Compiling pays after 1,234 passes"),
        ("compile", compiled(1234, None), "WORTH_COMPILING: WORTH_COMPILING = 1300 where it pays at all"),
        ("compile", compiled(None), "WORTH_COMPILING: compiling never pays"),
        ("compile", compiled(9, graphs=0.03), "CUDA graphs: `auto` should use CUDA graphs: a pass takes 0.75"),
        ("compile", compiled(9, graphs=0.04), "CUDA graphs: CUDA graphs stay an option"),
        ("said", {"ratios": {"seconds": 1.2, "peak_memory": 0.9}}, "Intrinsic-SAID: Intrinsic-SAID takes 1.20"),
        (
            "adapters",
            {"variants": {"compacter++": {"seconds": 1.0}, "adapters compacter++": {"seconds": 1.6}}},
            "step beside adapters: met: 1.60 times",
        ),
        (
            "adapters",
            {"variants": {"compacter++": {"seconds": 1.0}, "adapters compacter++": {"seconds": 1.4}}},
            "step beside adapters: missed",
        ),
    ],
)
def test_each_decision_has_a_verdict_for_either_outcome(verdicts, tmp_path, entry, report, said):
    write(tmp_path, entry, report)
    lines = verdicts.settle(tmp_path).splitlines()
    assert lines[0] == "measured on a card"
    assert any(line.startswith(said) for line in lines), lines
    others = [name for name, (by, _) in verdicts.VERDICTS.items() if by != entry]
    assert all(any(line.startswith(f"{name}: open, not measured") for line in lines) for name in others)


def test_the_tables_show_what_was_measured(verdicts, tmp_path):
    against = {"memory": -20.04, "paper_memory": -29.55, "time": None, "paper_time": -26.51}
    method = {"method": "compacter++", "trained": 105_000, "seconds": 0.02, "tokens_per_second": 1e5}
    sizes = {"fixed_bytes": 9e8, "bytes_per_example": 4.25e6, "against_full": against}
    write(tmp_path, "cost", {"methods": [{**method, **sizes}]})
    write(tmp_path, "pool", pool(0.8))
    said = verdicts.settle(tmp_path)
    assert "| compacter++ | 105000 | 20.0 | 100000 | 900 | 4.2 | -20.0 (-29.6) | – |" in said
    assert "| Compacter++, 64 resident, decoding | 0.8 | 0.8 |" in said


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "holds no entry's file"),
        ({"step.json": "{"}, "step.json is damaged"),
        ({"step.json": "[]"}, "step.json is damaged (not an entry's file)"),
        (
            {"packed.json": json.dumps({"state": "done", "why": "", "report": {"shapes": [1]}})},
            "packed.json is damaged",
        ),
    ],
)
def test_an_empty_or_damaged_folder_is_an_error_of_one_line(tmp_path, files, why):
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    refused = run("--settle", str(tmp_path))
    assert refused.returncode == 1
    assert why in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_folder_that_is_not_there_is_an_error_of_one_line(tmp_path):
    assert run("--settle", str(tmp_path / "none")).stderr.startswith("there is no folder ")
