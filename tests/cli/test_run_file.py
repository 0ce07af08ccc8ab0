"""Runs from a file: what it may say, what the command line changes of it, and that a run can be repeated."""

import json

import pytest
from command_line import one_json, refuses, works

from hyperadapters.cli.run_file import _with_defaults

FEW = ("--max-train", "8", "--batch-size", "4", "--set", "text.evaluation_rows=8")

SAME = ("experiment", "metrics", "averages", "intervals", "steps", "best_step", "history", "tokens", "trained")


def write(path, text):
    path.write_text(text)
    return path


def trained(path, *words):
    """The experiment of a run from a file, after one step."""
    output = path.parent / f"out{len(list(path.parent.iterdir()))}"
    words = ("train", "--config", path, "--steps", "1", "--max-train", "4", *words, "--output", output, "--json")
    return one_json(works(*words))["experiment"]


@pytest.mark.slow
def test_a_finished_run_is_repeated_from_its_experiment(tmp_path):
    first = one_json(works("train", "--output", tmp_path / "a", "--epochs", "1", "--lr", "2e-2", *FEW, "--json"))
    assert first["experiment"]["training"]["lr"] == 0.02
    again = one_json(
        works("train", "--config", tmp_path / "a" / "experiment.json", "--output", tmp_path / "b", "--json")
    )
    assert {name: again[name] for name in SAME if name in again} == {
        name: first[name] for name in SAME if name in first
    }
    other = ("--config", tmp_path / "a" / "experiment.json", "--seed", "1", "--output", tmp_path / "c", "--json")
    changed = one_json(works("train", *other))["experiment"]
    first["experiment"]["training"]["seed"] = 1
    assert changed == first["experiment"]


@pytest.mark.slow
def test_what_a_file_leaves_out_has_the_commands_defaults(tmp_path):
    path = write(tmp_path / "run.yaml", "task: demo/sentiment\ntraining:\n  lr: 3e-3\n  warmup_steps: 2\n")
    found = trained(path)
    assert (found["task"]["name"], found["backbone"]) == ("demo/sentiment", "embedded")
    assert (found["training"]["lr"], found["training"]["warmup_steps"]) == (0.003, 2)
    plain = one_json(works("train", "--steps", "1", "--max-train", "4", "--output", tmp_path / "plain", "--json"))
    assert found["method"] == plain["experiment"]["method"]
    assert found["text"] == plain["experiment"]["text"]


@pytest.mark.slow
def test_the_command_line_wins_over_the_file(tmp_path):
    path = write(
        tmp_path / "run.yaml",
        "method: {name: houlsby, bottleneck: 8}\ntask: [demo/sentiment, demo/paraphrase]\n"
        "training: {steps: 5, seed: 3}\ntext: {prefix: true}\n",
    )
    words = ("--method", "pfeiffer", "--task", "demo/acceptability", "--set", "training.seed=4")
    found = trained(path, *words)
    assert found["method"]["bottleneck"] != 8
    assert found["task"]["name"] == "demo/acceptability"
    assert (found["training"]["seed"], found["text"]["prefix"]) == (4, True)
    assert found["training"]["steps"] == 1
    output = tmp_path / "epochs"
    words = ("train", "--config", path, "--task", "demo/sentiment", "--epochs", "1", *FEW, "--output", output, "--json")
    value = one_json(works(*words))
    assert (value["steps"], value["experiment"]["method"]["bottleneck"]) == (2, 8)


@pytest.mark.slow
def test_a_file_names_methods_and_tasks_in_short_or_in_full(tmp_path):
    own = write(tmp_path / "rows.jsonl", '{"q": "a", "a": "no"}\n{"q": "b", "a": "yes"}\n')
    files = {
        "type": "files",
        "train": str(own),
        "validation": str(own),
        "text": ["q"],
        "answer": "a",
        "answers": "label",
    }
    values = {"method": {"type": "Compacter", "n": 2}, "task": files}
    found = trained(write(tmp_path / "run.json", json.dumps(values)), "--max-train", "2")
    assert (found["method"]["type"], found["method"]["n"], found["task"]["train"]) == ("Compacter", 2, str(own))
    several = write(tmp_path / "mix.yaml", "method: hyperformer++\ntask: [demo/sentiment, demo/paraphrase]\n")
    assert trained(several)["task"]["tasks"][1]["name"] == "demo/paraphrase"
    full = (
        "task: {type: mixture, tasks: [demo/sentiment, demo/paraphrase], temperature: 2}\nmethod: adapters-multitask\n"
    )
    mixture = write(tmp_path / "full.yaml", full)
    assert trained(mixture)["task"]["temperature"] == 2


@pytest.mark.slow
def test_a_file_continues_from_a_trained_adapter(tmp_path):
    works("train", "--task", "demo/sentiment", "--steps", "1", "--output", tmp_path / "a", *FEW)
    path = write(tmp_path / "run.yaml", f"start: {{adapter: {tmp_path / 'a'}}}\ntask: demo/sentiment\n")
    found = trained(path)
    assert found["start"]["adapter"] == str(tmp_path / "a")
    again = trained(write(tmp_path / "again.json", json.dumps(found)))
    assert again == found


def test_a_file_of_own_files_has_defaults_in_parts_and_the_runs_seed_for_its_split():
    task = {"type": "files", "train": "a.csv", "validation": "10%", "reading": {"encoding": "cp1252"}}
    found = _with_defaults(task, 7)
    assert found["reading"] == {"columns": [], "encoding": "cp1252", "skip_bad_rows": False}
    assert found["split_seed"] == 7
    assert _with_defaults({**task, "split_seed": 3}, 7)["split_seed"] == 3
    assert _with_defaults({**task, "validation": "b.csv"}, 7)["split_seed"] == 42


WRONG = [
    ("trainng: {lr: 1}\ntraining: {sed: 1}\nmethod: {nn: 2}\nlr: 1\n", ["trainng.lr: no such setting. Did you mean"]),
    ("training: {sed: 1}\nmethod: {nn: 2}\nlr: 1\n", ["training.sed", "Did you mean seed", "method.nn", "lr: no such"]),
    ("training: {lr: many}\n", ["training.lr='many'"]),
    ("training: 5\n", ["training is 5; it holds settings"]),
    ("backbone: 5\n", ["backbone is 5"]),
    ("start: out/a\n", ["start is 'out/a'"]),
    ("start: {like: rte}\ntask: demo/sentiment\n", ["start has the keys adapter, like and freeze; found like"]),
    ("start: {adapter: absent}\ntask: demo/sentiment\n", ["there is no adapter at absent"]),
    ("method: compactor\n", ["no method 'compactor'. Did you mean compacter"]),
    ("method: {type: Compactor}\n", ["'Compactor'", "Did you mean Compacter"]),
    ("task: glue/mprc\n", ["no task 'glue/mprc'"]),
    ("task: {type: fils, train: a}\n", ["fil"]),
    ("task: {type: files, trian: a}\n", ["FilesTask"]),
    ("task: {type: instructions, train: a, validation: b}\n", ["a, b do not exist"]),
    (
        "method: compactor\ntask: glue/mprc\nbackbone: 5\nstart: {adapter: absent}\ntext: 7\ntraining: {sed: 1}\n",
        ["no method 'compactor'", "no task 'glue/mprc'", "backbone is 5", "at absent", "text is 7", "training.sed"],
    ),
    ("method: {type: Compactor, n: 2}\ntraining: {lr: 0}\n", ["'Compactor'", "training.lr=0.0: must be more than 0"]),
    ("method: {type: Compacter, n: x}\ntraining: {lr: many}\n", ["method.n='x'", "training.lr='many'"]),
    ("- a list\n", ["holds no experiment"]),
    ("a: [1\n", ["is damaged"]),
    ("", ["holds no experiment"]),
]


@pytest.mark.parametrize(("text", "messages"), WRONG)
def test_a_file_that_makes_no_sense_is_refused_and_leaves_nothing(text, messages, tmp_path):
    path = write(tmp_path / "run.yaml", text)
    found = refuses("train", "--config", path, "--output", tmp_path / "out")
    assert all(message in found for message in messages), found
    assert not (tmp_path / "out").exists()


def test_a_file_cannot_run_code(tmp_path):
    path = write(tmp_path / "run.yaml", "task: !!python/object/apply:os.mkdir [" + str(tmp_path / "made") + "]\n")
    assert "is damaged" in refuses("train", "--config", path, "--output", tmp_path / "out")
    assert not (tmp_path / "made").exists()
