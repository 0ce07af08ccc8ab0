"""Reading results: what is damaged is left out and named."""

import dataclasses
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from hyperadapters import InputError
from hyperadapters.reports.reading import read_results
from hyperadapters.reports.writing import report
from results import published_run, result

RESULTS = Path(__file__).resolve().parents[2] / "results"


def test_results_are_found_at_any_depth_and_damaged_ones_named(tmp_path):
    good = published_run("full")[0]
    bad_method = asdict(good)
    bad_method["experiment"] = {**good.experiment, "method": {"type": "Newer"}}
    infinite = asdict(dataclasses.replace(good, metrics={**good.metrics, "test": {"f1": float("nan")}}))
    texts = {"a/b": json.dumps(asdict(good)), "c": "{}", "d": "no JSON", "e": "", "f": json.dumps(bad_method)}
    texts |= {"g": json.dumps(infinite), "h": json.dumps({**asdict(good), "metrics": 3}), "i": "[1]"}
    for name, text in texts.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "result.json").write_text(text)
    found, wrong = read_results(tmp_path)
    assert [(path, r.task) for path, r in found.items()] == [(tmp_path / "a" / "b", good.task)]
    assert len(wrong) == 7
    for name, problem in zip("cdefghi", wrong, strict=True):
        assert str(tmp_path / name) in problem
        assert "\n" not in problem
    assert "no finite numbers" in wrong[4]


def test_a_file_of_results_gives_what_their_folder_gives(tmp_path):
    good = published_run("full")[0]
    changed = [{"metrics": 3}, {"history": [{}]}, {"bytes": None}, {"by_kind": [1]}, {"versions": []}]
    changed += [{"cost": {**asdict(good)["cost"], "peak_memory": "much"}}]
    bad = ["no JSON", "[1]", "{}", "1" * 5000, *(json.dumps({**asdict(good), **change}) for change in changed)]
    lines = [json.dumps(asdict(good)), *bad, ""]
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    found, wrong = read_results(tmp_path / "all.jsonl")
    assert found == {Path(f"{tmp_path / 'all.jsonl'}:1"): good}
    found_at = [int(re.search(r"all\.jsonl:(\d+)", problem)[1]) for problem in wrong]
    assert found_at == list(range(2, len(bad) + 2))
    with pytest.raises(InputError, match=r"none.jsonl does not exist"):
        read_results(tmp_path / "none.jsonl")


def at(values, path, value):
    """Nested values with one of them changed."""
    name, *rest = path
    inside = at(values[name], rest, value) if rest else value
    return [*values[:name], inside, *values[name + 1 :]] if isinstance(values, list) else {**values, name: inside}


WRONG_FIELDS = [
    (("task",), None),
    (("metrics", "test"), {}),
    (("metrics", "validation"), {}),
    (("history", 1, "accuracy"), None),
    (("history", 1), {"step": 1}),
    (("cost", "peak_memory"), -1),
    (("cost", "step_seconds"), None),
    (("total",), 0),
    (("total",), 10**400),
    (("experiment", "backbone"), None),
    (("experiment", "task"), None),
    (("experiment", "training", "seed"), []),
    (("rows",), {}),
    (("rows", "train"), "x"),
    (("rows", "test"), 0),
    (("rows_available", "train"), 9),
    (("intervals", "accuracy"), []),
    (("intervals", "accuracy"), [0.1, None]),
]


@pytest.mark.parametrize(("path", "value"), WRONG_FIELDS)
def test_a_result_with_one_wrong_field_is_left_out_and_named(path, value, tmp_path):
    good = json.loads(json.dumps(asdict(result("full", "glue/rte", {"accuracy": 70}))))
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, (good, at(good, path, value)))))
    found, (problem,) = read_results(tmp_path / "all.jsonl")
    assert len(found) == 1
    assert problem.startswith(f"{tmp_path / 'all.jsonl'}:2")
    assert "\n" not in problem


@pytest.mark.skipif(not RESULTS.is_dir(), reason="the package is installed without the repository")
@pytest.mark.parametrize("name", ["evidence", "houlsby-minilm", "low-resource"])
def test_our_own_results_are_read_whole(name):
    assert read_results(RESULTS / f"{name}.jsonl")[1] == []


def test_files_of_one_name_have_tables_of_their_own(tmp_path):
    good = json.loads(json.dumps(asdict(result("full", "data", {"accuracy": 91}))))
    files = [{"type": "files", "train": f"{folder}/data.jsonl", "answer": "a"} for folder in ("films", "laptops")]
    lines = [json.dumps(at(good, ("experiment", "task"), task)) for task in files]
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    titles = [section.title for section in report(read_results(tmp_path / "all.jsonl")[0])]
    assert titles[:2] == ["data (films, a) on t5-base", "data (laptops, a) on t5-base"]


def test_a_folder_without_results_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"holds no result.json of a run .* `hyperadapters sweep` and `train` write"):
        read_results(tmp_path)
    with pytest.raises(InputError, match=r"gone is no folder"):
        read_results(tmp_path / "gone")
    (tmp_path / "result.json").write_text("no JSON")
    with pytest.raises(InputError, match=r"can be read, at any depth: .*is not JSON"):
        read_results(tmp_path)
