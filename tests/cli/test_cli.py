"""The command line: what it prints, its exit codes, and wrong inputs."""

import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys

import pytest
from command_line import one_json, refuses, works
from safetensors.torch import load_file

from conftest import tiny_config
from hyperadapters import METHODS, TASKS
from hyperadapters._utils import read_json, write_json
from hyperadapters.cli.base import _show
from hyperadapters.reports.comparison import _comparison_figure
from hyperadapters.runs.result import read_result

QUICK = ("--set", "training.epochs=1", "--set", "text.train_rows=32")
FEW_SCORED = ("--set", "text.evaluation_rows=32")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    rows = [{"premise": f"a {i}", "hypothesis": f"b {i}", "label": "no" if i % 3 else "yes"} for i in range(24)]
    return [write(folder / f"{split}.jsonl", rows) for split in ("train", "validation", "test")]


def own(files):
    return ("--train", files[0], "--validation", files[1], "--text", "premise,hypothesis", "--label", "label")


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "pair"
    return output, works("train", *own(files), "--test", files[2], "--output", output, "--json", *QUICK[:2])


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "demo"
    works("train", "--task", "demo/acceptability", "--output", output, *QUICK, *FEW_SCORED)
    return output


def test_train_ends_with_its_result(trained):
    output, result = trained
    value = one_json(result)
    assert {"metrics", "trained", "bytes", "seconds", "output"} <= set(value)
    assert value["output"] == str(output)
    assert set(value["metrics"]) == {"validation", "test"}
    assert set(value["metrics"]["test"]) == {"accuracy", "macro_f1"}
    assert value["task"] == "mine0" or value["task"].startswith("mine")
    names = {path.name for path in output.iterdir()}
    assert names == {"README.md", "adapter_config.json", "adapter_model.safetensors", "experiment.json", "result.json"}
    assert value["tokens"] <= value["padded_tokens"]
    assert "epoch 1/1" in result.stderr


def test_a_finished_run_is_not_run_again(trained, files):
    output, result = trained
    words = ("train", *own(files), "--test", files[2], "--output", output, "--json", *QUICK[:2])
    again = works(*words, "--resume")
    assert one_json(again)["seconds"] == one_json(result)["seconds"]
    assert "is not empty" in refuses(*words)
    refusal = refuses(*words, "--resume", "--set", "training.lr=1")
    assert "another experiment: training.lr: 0.03 there, 1.0 now Give the settings of that run" in refusal
    other = refuses(*words, "--resume", "--method", "houlsby", "--lr", "1e-2", "--set", "text.source_length=9")
    assert "method.type: Compacter there, Adapter now" in other
    assert "text.source_length: 128 there, 9 now" in other


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_run_that_is_not_there_is_not_resumed(command, tmp_path):
    place = tmp_path / "slip"
    assert f"{place} is not there. Name the folder" in refuses(command, "--output", place, "--resume")
    place.mkdir()
    assert f"{place} is empty. Name the folder" in refuses(command, "--output", place, "--resume")


def test_evaluate_scores_as_training_did(trained):
    output, result = trained
    found = one_json(works("evaluate", output, "--json"))
    assert found["metrics"] == one_json(result)["metrics"]["test"]
    assert one_json(works("evaluate", output, "--split", "validation", "--decode", "generate", "--json"))["rows"] == 24
    assert "--split dev: one of train, validation, test" in refuses("evaluate", output, "--split", "dev")
    assert "--data absent: there is no such folder" in refuses("evaluate", output, "--data", "absent")
    assert "evaluation.decode='guess'" in refuses("evaluate", output, "--decode", "guess")


@pytest.fixture
def moving(tmp_path):
    """A folder with an adapter and the files that it was trained on, and the words of a call in it."""
    rows = [{"t": f"a {w} film {i}", "y": w} for i, w in enumerate(["good", "bad"] * 6)]
    (tmp_path / "one").mkdir()
    for split in ("train", "validation", "test"):
        write(tmp_path / "one" / f"{split}.jsonl", rows)
    words = [word for split in ("train", "validation", "test") for word in (f"--{split}", f"{split}.jsonl")]
    return tmp_path / "one", ("train", *words, "--text", "t", "--label", "y", "--output", "out", "--steps", "2")


def test_evaluate_scores_the_files_of_the_training_from_any_folder(moving, tmp_path, monkeypatch):
    place, words = moving
    monkeypatch.chdir(place)
    works(*words)
    here = one_json(works("evaluate", "out", "--json"))
    (tmp_path / "two").mkdir()
    for split in ("train", "validation", "test"):
        write(tmp_path / "two" / f"{split}.jsonl", [{"t": "other", "y": w} for w in ("good", "bad", "bad")])
    monkeypatch.chdir(tmp_path / "two")
    there = one_json(works("evaluate", "../one/out", "--json"))
    assert {**there, "seconds": 0} == {**here, "seconds": 0}
    refused = refuses("evaluate", "../one/out", "--data", ".")
    assert "not those of the training: test: " in refused
    assert "--data" in refused
    assert "--file" in refused
    other = one_json(works("evaluate", "../one/out", "--file", "test.jsonl", "--json"))
    assert (other["rows"], other["task"], other["file"], other["split"]) == (3, here["task"], "test.jsonl", None)


def test_evaluate_tells_what_changed_since_the_training(moving, monkeypatch):
    place, words = moving
    monkeypatch.chdir(place)
    works(*words)
    write(place / "validation.jsonl", [{"t": "other", "y": "good"}])
    assert "validation: " in refuses("evaluate", "out", "--split", "validation")
    assert "changed since the training, and not scored: validation: " in works("evaluate", "out").stderr
    write(place / "train.jsonl", [{"t": "other", "y": w} for w in ("good", "bad", "fine")])
    assert "train.jsonl:3: label 'fine'" in refuses("evaluate", "out", "--file", "train.jsonl")
    assert "does not exist" in refuses("evaluate", "out", "--file", "absent.jsonl")


def test_evaluate_scores_any_labelled_file_with_the_adapter_alone(moving, tmp_path, monkeypatch):
    place, words = moving
    monkeypatch.chdir(place)
    works(*words)
    here = one_json(works("evaluate", "out", "--json"))
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(place / "out" / name, alone)
    shutil.move(place / "test.jsonl", alone)
    monkeypatch.chdir(alone)
    assert "give rows to score with --file" in refuses("evaluate", ".")
    assert one_json(works("evaluate", ".", "--file", "test.jsonl", "--json"))["metrics"] == here["metrics"]
    text = (alone / "test.jsonl").read_text()
    (alone / "other.jsonl").write_text(text.replace('"y"', '"verdict"'))
    refused = refuses("evaluate", ".", "--file", "other.jsonl")
    assert "has no column 'y'; one needs t, y. Its columns: t, verdict. Name the column of the answers" in refused
    assert "other.jsonl, 12 rows" in works("evaluate", ".", "--file", "other.jsonl", "--label", "verdict").stdout
    assert "leave out --split and --data" in refuses(
        "evaluate", ".", "--file", "other.jsonl", "--split", "test", "--data", "."
    )
    assert "--label goes with --file" in refuses("evaluate", ".", "--label", "y")
    (alone / "other.jsonl").write_text(text + '{"t": "a film"}\n')
    assert "--skip-bad-rows" in refuses("evaluate", ".", "--file", "other.jsonl")
    assert "other.jsonl, 12 rows" in works("evaluate", ".", "--file", "other.jsonl", "--skip-bad-rows").stdout
    assert "--skip-bad-rows: for the rows of --file" in refuses("evaluate", ".", "--skip-bad-rows")


def test_evaluate_says_which_split_it_scores_where_there_is_no_test(files, tmp_path):
    works("train", *own(files), "--output", tmp_path / "a", *QUICK[:2])
    found = works("evaluate", tmp_path / "a")
    assert "there is no test split: validation is scored" in found.stderr
    assert "validation split, 24 rows" in found.stdout
    assert "no test split" in refuses("evaluate", tmp_path / "a", "--split", "test")


def test_evaluate_finds_files_that_were_moved(moving, tmp_path, monkeypatch):
    place, words = moving
    monkeypatch.chdir(place)
    works(*words)
    (tmp_path / "new").mkdir()
    for split in ("train", "validation", "test"):
        shutil.move(place / f"{split}.jsonl", tmp_path / "new")
    assert "is not there" in refuses("evaluate", "out")
    assert one_json(works("evaluate", "out", "--data", tmp_path / "new", "--json"))["rows"] == 12


def test_an_adapter_is_evaluated_as_its_run_was_tested(tmp_path):
    how = ("--set", "evaluation.decode=generate", "--set", "evaluation.beams=2", "--set", "text.evaluation_rows=8")
    how += ("--set", "evaluation.generation_config=backbone")
    value = one_json(works("train", "--task", "demo/sentiment", "--output", tmp_path / "a", "--json", *QUICK, *how))
    found = one_json(works("evaluate", tmp_path / "a", "--json"))
    assert (found["decode"], found["metrics"]) == ("generate", value["metrics"]["test"])
    assert one_json(works("evaluate", tmp_path / "a", "--decode", "score", "--json"))["decode"] == "score"
    saved = one_json(works("info", tmp_path / "a", "--json"))["task"]
    assert (saved["decode"], saved["beams"], saved["generation_config"]) == ("generate", 2, "backbone")


def test_predict_answers_texts(trained, demo):
    answers = one_json(works("predict", demo, "this farmer liked these kings .", "x", "--json"))["predictions"]
    assert len(answers) == 2
    assert set(answers) <= {"0", "1"}
    output, _ = trained
    assert one_json(works("predict", output, "a premise", "a hypothesis", "--json"))["predictions"][0] in {"yes", "no"}
    assert "2 fields (premise, hypothesis), but 1 text(s)" in refuses("predict", output, "alone")


def test_predict_gives_the_probabilities_of_labels(trained, files, tmp_path):
    output, _ = trained
    (labels,) = one_json(works("predict", output, "a premise", "a hypothesis", "--scores", "--json"))["scores"]
    assert set(labels) == {"yes", "no"}
    assert sum(labels.values()) == pytest.approx(1)
    first = next(iter(labels))
    shown = works("predict", output, "a premise", "a hypothesis", "--top", "1").stdout
    assert shown.strip() == f"{first} {labels[first]:.4f}"
    rows = [json.loads(line) for line in works("predict", output, "--file", files[2], "--top", "1").stdout.splitlines()]
    assert [[*row] for row in rows] == [["premise", "hypothesis", "label", "prediction", "scores"]] * 24
    assert all([*row["scores"]] == [row["prediction"]] for row in rows)
    done = one_json(works("predict", output, "--file", files[2], "--output", tmp_path / "o", "--scores", "--json"))
    assert done["rows"] == 24
    assert all(len(json.loads(line)["scores"]) == 2 for line in (tmp_path / "o").read_text().splitlines())
    assert "should be greater than or equal to 1" in refuses("predict", output, "a", "b", "--top", "0")


def test_rows_in_another_encoding_without_a_header_are_answered_and_scored(trained, tmp_path):
    output, _ = trained
    path = tmp_path / "rows.csv"
    path.write_bytes("1,é 1,b 1,no\n2,a 2,b 2,yes\n".encode("cp1252"))
    how = ("--file", path, "--columns", "id,premise,hypothesis,label", "--encoding", "cp1252")
    rows = [json.loads(line) for line in works("predict", output, *how).stdout.splitlines()]
    assert [(row["id"], row["premise"], row["prediction"] in {"yes", "no"}) for row in rows] == [
        ("1", "é 1", True),
        ("2", "a 2", True),
    ]
    assert "accuracy" in works("evaluate", output, *how).stdout
    assert "rows.csv:1: not UTF-8" in refuses("predict", output, "--file", path, "--columns", how[3])
    for command in ("predict", "evaluate"):
        words = ("a", "b") if command == "predict" else ()
        assert "--columns and --encoding: for the rows of --file" in refuses(command, output, *words, *how[2:])


def test_predict_answers_a_file_row_by_row(trained, files, tmp_path):
    output, _ = trained
    done = one_json(works("predict", output, "--file", files[2], "--output", tmp_path / "o.jsonl", "--json"))
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert done["rows"] == len(rows) == 24
    assert [row["premise"] for row in rows] == [f"a {i}" for i in range(24)]
    streamed = works("predict", output, "--file", files[2]).stdout.splitlines()
    assert [json.loads(line) for line in streamed] == rows


def test_predict_keeps_every_column_as_it_was_given(trained, tmp_path):
    output, answers = trained[0], tmp_path / "o.jsonl"
    given = [{"id": 7, "premise": " a", "tags": ["x"], "hypothesis": "b", "weight": None}]
    works("predict", output, "--file", write(tmp_path / "in.jsonl", given), "--output", answers)
    (answered,) = map(json.loads, answers.read_text().splitlines())
    assert answered.pop("prediction") in {"yes", "no"}
    assert [answered] == given
    (tmp_path / "in.csv").write_text("id,premise,hypothesis\n007,a,b\n")
    assert json.loads(works("predict", output, "--file", tmp_path / "in.csv").stdout)["id"] == "007"


def test_predict_never_replaces_a_column_of_its_answers_name(trained, tmp_path):
    rows = [{"premise": "a", "hypothesis": "b"}, {"premise": "a", "hypothesis": "b", "prediction": "mine"}]
    again = write(tmp_path / "in.jsonl", rows)
    found = refuses("predict", trained[0], "--file", again, "--output", tmp_path / "o.jsonl")
    assert "in.jsonl:2 has a column 'prediction' already" in found
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.slow  # starts a process; what is written is tested in this one
def test_predict_writes_rows_alone_to_standard_output(trained, files):
    words = [sys.executable, "-m", "hyperadapters.cli", "predict", str(trained[0]), "--file", str(files[2])]
    done = subprocess.run([*words, "--output", "/dev/stdout"], capture_output=True, text=True, check=True)
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 24
    assert "24 rows" in done.stderr


def test_predict_leaves_nothing_half_written(trained, tmp_path):
    output, _ = trained
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"premise": "a", "hypothesis": "b"}\n{"premise": "a"}\n')
    assert "bad.jsonl:2" in refuses("predict", output, "--file", bad, "--output", tmp_path / "o.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]


@pytest.mark.slow
def test_predict_leaves_quietly_when_nobody_reads_on(trained, files):
    words = [sys.executable, "-m", "hyperadapters.cli", "predict", str(trained[0]), "--file", str(files[2])]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_experiment_of_wrong_types_is_refused(trained, tmp_path):
    damaged = shutil.copytree(trained[0], tmp_path / "damaged")
    values = read_json(damaged / "experiment.json")
    for field, value in {"task": 5, "training": None, "method": {"type": []}, "backbone": {}}.items():
        write_json(damaged / "experiment.json", {**values, field: value})
        assert field in refuses("evaluate", damaged)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give either texts or --file"),
        (("a", "--file", "b.jsonl"), "give either texts or --file"),
        (("a", "--output", "b.jsonl"), "--output goes with --file"),
        (("--file", "absent.jsonl"), "absent.jsonl does not exist"),
        (("--file", "hf://owner/films"), "name a file on this machine"),
        (
            ("--file", f"{__file__},{__file__.replace('test_cli', 'test_startup')}"),
            "means 2 file(s): name one, such as",
        ),
        (("--file", "absent.jsonl", "--json"), "needs --output"),
        (("--file", "x", "--output", "no/such/folder/o.jsonl"), "there is no folder"),
        (("--file", "x", "--output", "."), "--output . is a folder: name a file"),
    ],
)
def test_predict_refuses_what_makes_no_sense(words, message, trained):
    assert message in refuses("predict", trained[0], *words)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "mix"
    words = ("train", "--task", MIX, "--method", "hyperformer++", "--output", output, "--json", *FEW)
    return output, works(*words), words


MIX = "demo/paraphrase,demo/sentiment"
FEW = (
    *QUICK[:2],
    *FEW_SCORED,
    "--set",
    "text.train_rows=8",
    "--set",
    "training.batch_size=8",
    "--set",
    "task.temperature=2",
)
SENTENCE = "this farmer liked these kings ."


@pytest.mark.slow
def test_several_tasks_train_in_one_adapter_which_scores_each(mixed):
    output, result, words = mixed
    value = one_json(result)
    assert value["task"] == "demo/paraphrase+demo/sentiment"
    assert set(value["metrics"]["test"]) == {"paraphrase.accuracy", "sentiment.accuracy"} == set(value["intervals"])
    assert value["averages"]["test"] == pytest.approx(sum(value["metrics"]["test"].values()) / 2)
    assert value["experiment"]["task"]["temperature"] == 2.0
    again = one_json(works(*words, "--resume"))
    assert again["seconds"] == value["seconds"]
    scored = one_json(works("evaluate", output, "--json"))
    assert scored["metrics"] == value["metrics"]["test"]
    assert "demo/paraphrase, demo/sentiment" in " ".join(works("info", output).stdout.split())


@pytest.mark.slow
def test_one_task_of_several_answers_and_is_baked_into_an_adapter_that_answers_alike(mixed, tmp_path):
    output, result, _ = mixed
    texts = [f"{SENTENCE} {number}" for number in range(4)]
    answers = one_json(works("predict", output, "--task", "sentiment", *texts, "--json"))
    baked = one_json(works("bake", output, "--task", "demo/sentiment", "--output", tmp_path / "one", "--json"))
    assert baked["method"] == "Adapter"
    assert one_json(works("predict", tmp_path / "one", *texts, "--json")) == answers
    scored = one_json(works("evaluate", tmp_path / "one", "--json"))
    assert scored["metrics"]["accuracy"] == pytest.approx(one_json(result)["metrics"]["test"]["sentiment.accuracy"])
    known = "knows demo/paraphrase, demo/sentiment"
    assert known in refuses("predict", output, "--task", "rte", "x")
    assert "holds several tasks (demo/paraphrase, demo/sentiment)" in refuses("predict", output, "x")
    assert known in refuses("bake", output, "--task", "rte", "--output", tmp_path / "two")
    again = refuses("bake", output, "--task", "demo/sentiment", "--output", tmp_path / "one")
    assert "is not empty" in again
    assert "--resume" not in again
    damaged = shutil.copytree(output, tmp_path / "damaged")
    (damaged / "experiment.json").write_text("{")
    assert "experiment.json" in refuses("bake", damaged, "--task", "demo/sentiment", "--output", tmp_path / "three")
    assert not (tmp_path / "three").exists()
    alone = one_json(works("evaluate", output, "--task", "sentiment", "--json"))
    both = one_json(works("evaluate", output, "--json"))
    assert alone["metrics"]["accuracy"] == both["metrics"]["sentiment.accuracy"]
    empty = write(tmp_path / "empty.jsonl", [])
    assert works("predict", output, "--file", empty).stdout == ""
    assert not (tmp_path / "two").exists()


def few_shot(mixed, files):
    return ("train", "--from", mixed[0], *own(files), "--test", files[2], "--json")


@pytest.mark.slow  # tests/runs/test_warm_start.py has it from Python
def test_a_new_task_joins_a_trained_adapter_from_few_rows(mixed, files, tmp_path):
    words = (*few_shot(mixed, files), "--init-task", "sentiment", "--max-train", "4", "--steps", "3")
    value = one_json(works(*words, "--output", tmp_path / "new"))
    assert (value["steps"], value["experiment"]["text"]["train_rows"]) == (3, 4)
    assert value["method"] == "hyperformer++"
    start = value["experiment"]["start"]
    assert (start["adapter"], start["like"], start["freeze"]) == (str(mixed[0]), "demo/sentiment", False)
    assert one_json(works("evaluate", tmp_path / "new", "--json"))["metrics"] == value["metrics"]["test"]
    again = one_json(works(*words, "--output", tmp_path / "new", "--resume"))
    assert again["seconds"] == value["seconds"]
    frozen = one_json(works(*words, "--freeze", "--output", tmp_path / "frozen"))
    assert (frozen["trained"], value["trained"] > 10**6) == (64, True)
    assert [found["experiment"]["training"]["lr"] for found in (value, frozen)] == [3e-4, 1.0]
    texts = [f"{SENTENCE} {number}" for number in range(4)]
    answers = [
        one_json(works("predict", place, "--task", "sentiment", *texts, "--json"))
        for place in (mixed[0], tmp_path / "frozen")
    ]
    assert answers[0] == answers[1]
    task = value["task"]
    baked = works("bake", tmp_path / "frozen", "--task", task, "--output", tmp_path / "baked", "--json")
    assert one_json(baked)["method"] == "Adapter"
    scored = one_json(works("evaluate", tmp_path / "baked", "--json"))
    assert scored["metrics"] == pytest.approx(frozen["metrics"]["test"])


WRONG_STARTS = [
    (("--init-task", "rte"), "knows no task 'rte'. It knows demo/paraphrase, demo/sentiment"),
    (("--method", "compacter"), "which a run that goes on from it keeps; given: Compacter"),
    (("--set", "method.bottleneck=8"), "which a run that goes on from it keeps"),
    (("--max-train", "0"), "text.train_rows=0: must be 1 or more"),
    (("--max-train", "25"), "has 24 training rows; take 1 to 24"),
    (("--steps", "0"), "training.steps=0: must be more than 0"),
    (("--from", "absent"), "there is no adapter at absent"),
]


@pytest.mark.parametrize(("words", "message"), WRONG_STARTS)
def test_a_start_that_makes_no_sense_is_refused_and_leaves_nothing(words, message, mixed, files, tmp_path):
    assert message in refuses(*few_shot(mixed, files), *words, "--output", tmp_path / "out" / "run")
    assert not (tmp_path / "out").exists()


def test_what_belongs_to_a_start_needs_one(mixed, demo, tmp_path):
    where = ("--output", tmp_path / "out")
    assert "--init-task goes with --from" in refuses("train", "--init-task", "rte", *where)
    assert "--freeze goes with --from" in refuses("train", "--freeze", *where)
    assert "say which with --task" in refuses("train", "--from", mixed[0], *where)
    alone = ("train", "--from", demo, "--task", "demo/sentiment", *where)
    assert "holds one task" in refuses(*alone, "--freeze")
    assert "holds one task" in refuses(*alone, "--init-task", "acceptability")
    assert not (tmp_path / "out").exists()


def test_info_says_what_an_adapter_is(demo):
    config = one_json(works("info", demo, "--json"))
    assert config["method"]["type"] == "Compacter"
    shown = works("info", demo).stdout
    for part in ("Compacter", "demo/acceptability", "embedded", "trained parameters", "test scores"):
        assert part in shown
    assert "no such folder" in refuses("info", demo / "absent")


def test_methods_and_tasks_list_everything():
    assert set(one_json(works("methods", "--json"))) == set(METHODS)
    assert set(one_json(works("tasks", "--json"))) == set(TASKS)
    shown = works("tasks").stdout
    assert all(name in shown for name, task in TASKS.items() if not task.wordings)
    assert "described/" in shown
    assert "compacter++" in works("methods").stdout


def test_count_counts_by_kind():
    found = one_json(works("count", "--method", "compacter", "--set", "method.n=8", "--json"))
    assert found["trained"] == sum(found["by_kind"].values())
    assert found["percent"] == pytest.approx(100 * found["trained"] / found["total"])
    assert set(found["by_kind"]) == {"adapter", "shared", "norm"}
    assert f"{found['trained']:,}" in works("count", "--method", "compacter", "--set", "method.n=8").stdout


@pytest.mark.slow
def test_compare_writes_one_table_and_one_figure(tmp_path):
    words = ("compare", "--methods", "pfeiffer,compacter++", "--output", tmp_path / "c", *QUICK)
    result = works(*words)
    columns = ("pfeiffer", "compacter++", "adapter", "score", "step", "generate", "activations", "peak memory")
    assert all(re.search(rf"{re.escape(name)}\s", result.stdout) for name in columns)
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert all((tmp_path / "c" / f"trade-off.{end}").read_bytes().startswith(start) for end, start in starts.items())
    table = (tmp_path / "c" / "comparison.md").read_text()
    assert table.count("\n| ") == 3
    assert load_file(tmp_path / "c" / "pfeiffer" / "adapter_model.safetensors")
    again = one_json(works(*words, "--resume", "--json"))
    assert [run["method"] for run in again["results"]] == ["pfeiffer", "compacter++"]
    assert "is not empty" in refuses(*words)


@pytest.mark.slow
def test_compare_names_each_method_as_it_was_asked_for(files, tmp_path):
    """Two presets of one class, both changed: two rows and two points."""
    words = ("compare", "--methods", "houlsby,pfeiffer", *own(files), "--output", tmp_path / "c", *QUICK[:2])
    found = works(*words, "--set", "method.bottleneck=8")
    assert all(re.search(rf"^ *{name} ", found.stdout, re.MULTILINE) for name in ("houlsby", "pfeiffer"))
    results = [read_result(tmp_path / "c" / name) for name in ("houlsby", "pfeiffer")]
    assert list(_comparison_figure(results).series) == ["houlsby (bottleneck = 8)", "pfeiffer (bottleneck = 8)"]


@pytest.mark.slow
def test_compare_all_measures_every_method_alike(files, tmp_path):
    words = ("compare", "--methods", "all", *own(files), "--output", tmp_path / "c", "--json", *QUICK[:2])
    results = one_json(works(*words))["results"]
    assert [result["method"] for result in results] == list(METHODS)
    for result in results:
        assert result["trained"] == sum(result["by_kind"].values())
        assert result["bytes"] > 0
        assert all(value > 0 for key, value in result["cost"].items() if key != "peak_memory")
    assert len({(result["cost"]["rows"], result["cost"]["source_length"]) for result in results}) == 1


@pytest.mark.slow
def test_a_method_of_peft_stands_in_a_comparison_and_settings_go_to_the_method_they_name(files, tmp_path):
    pytest.importorskip("peft")
    words = ("compare", "--methods", "compacter++,peft:lora", *own(files), "--output", tmp_path / "c", *QUICK[:2])
    ours = ("--set", "compacter++.n=8", "--set", "peft:lora.r=2")
    found = one_json(works(*words, *ours, "--json"))["results"]
    assert [run["method"] for run in found] == ["compacter++", "peft:lora"]
    assert [run["experiment"]["method"].get("n") for run in found] == [8, None]
    assert found[1]["trained"] == 12 * 2 * 2 * 2 * 144
    assert found[1]["cost"]["step_seconds"] > 0
    again = one_json(works("evaluate", tmp_path / "c" / "peft:lora", "--split", "validation", "--json"))
    assert again["metrics"] == found[1]["metrics"]["validation"]
    assert "LoraConfig has no such field" in refuses(*words, "--set", "peft:lora.n=2")


@pytest.mark.slow
def test_full_fine_tuning_runs_from_the_command_line(tmp_path):
    value = one_json(works("train", "--method", "full", "--output", tmp_path / "f", "--json", *QUICK))
    assert value["percent"] == 100
    found = one_json(works("evaluate", tmp_path / "f", "--json"))
    assert found["metrics"] == value["metrics"]["test"]


WRONG = [
    (("--method", "compactor"), "no method 'compactor'. Did you mean compacter"),
    (("--task", "glue/mprc"), "no task 'glue/mprc'. Did you mean glue/mrpc"),
    (("--task", "glue/mrpc,glue/rtee"), "no task 'glue/rtee'. Did you mean glue/rte"),
    (("--task", "glue/rte,glue/rte"), "name each task once"),
    (("--task", "demo/paraphrase,demo/sentiment", "--method", "bitfit", "--set", "task.temperature=0"), "more than 0"),
    (("--set", "task.temperature=2"), "task.temperature: no such setting"),
    (("--backbone", "no/such"), "backbone 'no/such' could not be loaded"),
    (("--set", "method.nn=8"), "method.nn: Compacter has no such field. Did you mean n"),
    (("--set", "method.n=x"), "method.n='x'"),
    (("--set", "method.n=5"), "n must divide both widths"),
    (("--set", "method.positions=middle"), "method.positions"),
    (("--set", "training"), "write it as key=value"),
    (("--set", "evaluation.batch_size=0"), "evaluation.batch_size=0: must be 1 or more"),
    (("--set", "evaluation.beams=0"), "evaluation.beams=0: must be 1 or more"),
    (
        ("--task", "demo/sentiment,demo/paraphrase", "--method", "hyperformer", "--set", "task.temperature=inf"),
        "task.temperature=inf: a number",
    ),
    (("--set", "trainng.lr=1"), "no such setting. Did you mean training.lr"),
    (("--set", "training.lr=0"), "training.lr=0"),
    (("--set", "training.lr=inf"), "training.lr=inf: must be a finite number"),
    (("--set", f"training.seed={10**20}"), f"training.seed={10**20}: must be less than 2**63"),
    (("--task", "glue/rte", "--data", "absent"), "--data absent: there is no such folder"),
    (("--task", "glue/rte", "--data", "."), "lacks train.tsv"),
    (("--data", "absent"), "--data absent: there is no such folder"),
    (("--data", "."), "--data . is for official files, and demo/paraphrase needs none"),
    (("--train", __file__, "--validation", "5%", "--data", "."), "--data . is for tasks of the package"),
    (("--columns", "a,b"), "your own files need --train, --validation"),
    (("--task", "demo/paraphrase", "--encoding", "latin-1"), "--encoding files of your own: give one or the other"),
    (("--train", __file__, "--validation", "5%", "--encoding", "x"), "encoding 'x': name one that keeps the ends"),
    (("--train", __file__, "--validation", "0%"), "validation 0%: a share of the training rows is more than 0%"),
    (("--train", "5%", "--validation", __file__), "--train 5%: only --validation can be a share"),
    (("--train", "no-*.jsonl", "--validation", "5%"), "no file matches no-*.jsonl"),
    (("--train", __file__, "--validation", "5%", "--name", "a,b"), "name 'a,b': write letters, digits"),
    (("--train", __file__, "--validation", "5%", "--name", "glue/rte"), "a task of the package is called so"),
    (("--train", __file__, "--validation", "5%", "--template", "{a}", "--text", "a", "--label", "b"), "leave --text"),
    (("--train", __file__, "--validation", "5%", "--template", "{a.b}", "--label", "b"), "{a.b}: between braces"),
    (
        ("--train", __file__, "--validation", "5%", "--template", "{a}"),
        "need --label (or --target, --score, --tags, --span)",
    ),
    (("--task", "glue/rte"), "could not be read"),
    (("--task", "glue/rte", "--train", "a.jsonl"), "give one or the other"),
    (("--train", "a.jsonl"), "your own files need --validation (a file, or 10%), --text (or --template), --label"),
    (("--train", "a", "--validation", "b", "--text", "c", "--label", "d", "--target", "e"), "give one of them"),
    (("--train", "a.jsonl", "--validation", "b", "--text", "c", "--label", "d"), "a.jsonl, b do not exist (looked in"),
    (("--train", "a.jsonl", "--validation", __file__), "a.jsonl does not exist (looked in"),
    (("--train", __file__, "--validation", __file__, "--text", "c,d", "--label", "d"), "is both text and answer"),
    (("--lr", "1", "--set", "training.lr=2"), "--lr 1.0 and --set training.lr=2: two values for one setting"),
    (("--batch-size", "4", "--set", "training.batch_size=x"), "--batch-size 4 and --set training.batch_size=x: two"),
    (("--epochs", "1", "--steps", "2"), "--epochs 1 and --steps 2: give one of them"),
    (("--lr", "nan"), "training.lr=nan: must be more than 0"),
    (("--batch-size", "0"), "training.batch_size=0: must be more than 0"),
    (("--seed", "-1"), "training.seed=-1: must be 0 or more"),
    (("--epochs", "x"), "Invalid value for '--epochs'"),
    (("--methd", "full"), "No such option: --methd"),
    (("--from", "absent"), "say which with --task"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_train_refuses_with_one_message_and_leaves_nothing(words, message, tmp_path):
    assert message in refuses("train", *words, "--output", tmp_path / "out" / "run")
    assert not (tmp_path / "out").exists()


def test_compare_and_count_refuse_too(tmp_path):
    assert "name each method once" in refuses("compare", "--methods", "full,full", "--output", tmp_path / "c")
    assert "Did you mean" in refuses("compare", "--methods", "ful", "--output", tmp_path / "c")
    late = ("compare", "--methods", "compacter++,phm", "--set", "method.n=9", "--output", tmp_path / "c")
    assert "n must divide both widths" in refuses(*late)
    several = ("compare", "--task", "demo/sentiment,demo/paraphrase", "--methods", "houlsby,full")
    assert "FullFineTuning holds one task" in refuses(*several, "--output", tmp_path / "c")
    assert not (tmp_path / "c").exists()
    assert "only the method's settings count" in refuses("count", "--set", "training.lr=1")
    assert "leave out --method, --set" in refuses("count", "--paper", "--method", "nonsense", "--set", "x.y=1")
    assert "no config.json" in refuses("count", "--backbone", tmp_path)


def test_an_output_that_is_a_file_or_is_not_empty_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file: name a folder" in refuses("train", "--output", tmp_path / "file", *QUICK)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    assert "is not empty (thesis.tex). Name an empty or a new folder" in refuses("train", "--output", tmp_path / "full")
    assert "is not empty" in refuses("train", "--output", tmp_path / "full", "--resume")


def test_an_output_that_cannot_be_written_is_refused():
    assert "cannot be written" in refuses("train", "--output", "/proc/hyperadapters")


def test_a_loss_that_is_not_finite_names_its_step(tmp_path):
    short = ("--epochs", "3", *QUICK[2:], *FEW_SCORED)
    words = ("--output", tmp_path / "run", *short, "--set", "training.lr=1e30")
    assert "is not finite; this update was not made" in refuses("train", "--method", "full", *words)


@pytest.mark.slow
def test_texts_beyond_the_limit_are_counted(demo, tmp_path):
    words = ("--output", tmp_path / "run", *QUICK, "--set", "text.source_length=8")
    assert "sources longer than 8 tokens were cut: 32 of 32 in train" in works("train", *words).stderr
    assert "1 text(s) longer than 128 tokens" in works("predict", demo, "word " * 200).stderr


def test_free_text_has_room_and_targets_beyond_it_are_counted(tmp_path):
    rows = [
        {"text": f"word {i}", "answer": "one two three " * (40 if i % 2 else 1) + "✂" * (i % 4 == 0)} for i in range(8)
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    words = ("--train", path, "--validation", path, "--text", "text", "--target", "answer", "--json")
    result = works("train", *words, "--output", tmp_path / "run", *QUICK[:2])
    hint = (
        "targets longer than 64 tokens were cut: 4 of 8 in train, 4 of 8 in validation (--set text.target_length=128)"
    )
    assert hint in " ".join(result.stderr.split())
    value = one_json(result)
    assert value["truncated_targets"] == {"train": 4, "validation": 4}
    assert value["truncated"] == {"train": 0, "validation": 0}
    assert value["unwritable_targets"] == {"train": 2, "validation": 2}


def test_names_with_brackets_are_printed_as_they_are(capsys):
    from rich.table import Table

    from hyperadapters._utils.progress import console

    table = Table("[task]", title="films[v2] :smile:")
    table.add_row("films[v3] and more")
    _show({}, False, table, "films[v4] :smile:")
    console.print("films[v5] :smile:")
    shown = capsys.readouterr()
    for text in ("[task]", "films[v2] :smile:", "films[v3]", "films[v4] :smile:"):
        assert text in shown.out
    assert "films[v5] :smile:" in shown.err


def test_an_adapter_saved_without_a_task_says_how_to_use_it(tmp_path):
    from hyperadapters import attach, load_backbone

    backbone, _ = load_backbone()
    attach(backbone, METHODS["compacter"]).save(tmp_path / "a")
    assert "does not say its task" in refuses("predict", tmp_path / "a", "text")
    assert "has no experiment.json" in refuses("evaluate", tmp_path / "a")


@pytest.mark.slow
def test_all_methods_are_those_that_fit_the_backbone(tmp_path):
    tiny_config(d_model=32).save_pretrained(tmp_path)
    options = ("cost", "--backbone", tmp_path, "--batches", "1,2", "--length", "4", "--rounds", "1")
    found = one_json(works(*options, "--methods", "all", "--json"))
    assert "n must divide" in found["left_out"]["phm"]
    assert {row["method"] for row in found["methods"]} == set(METHODS) - set(found["left_out"])
    assert "n must divide" in refuses(*options, "--methods", "full,phm")
    assert "name a method at least" in refuses(*options, "--methods", ",")
    assert "--memory nan: must be a number of GB" in refuses(*options, "--memory", "nan")


@pytest.mark.slow  # starts a process
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_of_another_encoding_is_escaped_and_json_stays_json(encoding, monkeypatch):
    words = [sys.executable, "-m", "hyperadapters.cli", "predict", "no/sunlight/☀"]
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([*words, "a"], capture_output=True, env=env, check=False)
    assert done.returncode == 2
    assert b"there is no adapter at no/sunlight/\\u2600" in done.stderr.replace(b"\n", b"")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        _show({"label": "☀ é"}, True)
        sys.stdout.flush()
        printed = sys.stdout.buffer.getvalue()
    assert json.loads(printed.decode("ascii")) == {"label": "☀ é"}


@pytest.mark.slow  # starts a process
def test_standard_output_on_a_full_disk_is_the_users_side():
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "hyperadapters.cli", "methods", "--json"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "standard output cannot be written: No space left on device" in done.stderr


def test_predict_on_a_full_disk_leaves_no_half_written_file(trained, files, tmp_path):
    rows = write(tmp_path / "rows.jsonl", [{"premise": "a " * 40, "hypothesis": "b"}] * 64)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        said = refuses("predict", trained[0], "--file", rows, "--output", tmp_path / "answers.jsonl")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "answers.jsonl cannot be written: File too large" in said
    assert list(tmp_path.iterdir()) == [rows]


def test_a_run_on_a_full_disk_leaves_nothing_half_written(files, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        said = refuses("train", *own(files), "--set", "training.epochs=1", "--output", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written: File too large. Make room" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["experiment.json"]


def test_an_experiment_as_a_config_is_compared_with_its_checksum(trained, tmp_path):
    text = (trained[0] / "experiment.json").read_text()
    (tmp_path / "e.json").write_text(text.replace('"seed": 42', '"seed": 43').replace('"seed": 0', '"seed": 1'))
    said = refuses("train", "--config", tmp_path / "e.json", "--output", tmp_path / "out")
    assert "if the change is meant, remove its checksum" in said
