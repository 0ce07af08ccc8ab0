"""`--tasks`: a file of tasks, of the package and of own files, that are trained in one adapter."""

import json

import pytest
import yaml
from command_line import one_json, refuses, works
from families import FAMILIES

from hyperadapters import MixtureTask, NamedTask, load_backbone
from hyperadapters.cli.task_file import _read_task_file

WORDS = {"reviews": ("good", "bad"), "topics": ("sport", "music", "politics"), "grades": ("1", "2.5", "4")}
ENTRIES = [
    {"name": "reviews", "train": "data/reviews.jsonl", "validation": "data/reviews.jsonl", "text": "t", "label": "a"},
    {"train": "data/topics.jsonl", "validation": "25%", "text": ["t"], "answer": "a", "answers": "label"},
    {"train": "data/grades.jsonl", "validation": "data/grades.jsonl", "text": "t", "score": "a"},
]


def answered(*words):
    """What a command prints as JSON."""
    return one_json(works(*words, "--json"))


SHORT = ("--steps", "2", "--batch-size", "4", "--set", "evaluation.batch_size=8", "--set", "training.evaluate_steps=2")


@pytest.fixture
def folder(tmp_path):
    """Own files of two classes, of three and of numbers, and the file that lists them."""
    (tmp_path / "data").mkdir()
    for name, answers in WORDS.items():
        rows = [{"t": f"a {answers[i % len(answers)]} text {i}", "a": answers[i % len(answers)]} for i in range(12)]
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tasks.yaml").write_text(yaml.safe_dump(ENTRIES))
    return tmp_path


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """Tiny backbones of every kind on disk, with the embedded tokenizer."""
    tokenizer, found = load_backbone()[1], {}
    for kind, family in (("encoder", "bert"), ("decoder", "llama"), ("encoder-decoder", "t5")):
        place = tmp_path_factory.mktemp(kind)
        FAMILIES[family].make(vocab_size=len(tokenizer)).save_pretrained(place)
        tokenizer.save_pretrained(place)
        found[kind] = str(place)
    return found


KINDS = ["encoder", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("decoder", "encoder-decoder"))]


@pytest.mark.parametrize("kind", KINDS)
def test_own_files_share_an_adapter_through_every_command(kind, backbones, folder):
    given = ("--tasks", folder / "tasks.yaml", "--backbone", backbones[kind], "--method", "hyperformer++")
    mix = folder / "mix"
    result = answered("train", *given, "--output", mix, *SHORT)
    assert result["task"] == "reviews+topics+grades"
    task = result["experiment"]["task"]
    assert [entry["name"] for entry in task["tasks"]] == [*WORDS]
    assert [set(entry["checksums"]) for entry in task["tasks"]] == [
        {"train", "validation", "labels"},
        {"train", "labels"},
        {"train", "validation", "labels"},
    ]
    assert json.loads((mix / "experiment.json").read_text())["task"] == task
    again = answered("evaluate", mix)  # there are no test rows
    assert again["split"] == "validation"
    assert again["metrics"] == result["metrics"]["validation"]
    one = answered("evaluate", mix, "--split", "validation", "--task", "topics")
    assert one["metrics"]["accuracy"] == again["metrics"]["topics.accuracy"]
    rows = [{"task": name, "t": "a good text"} for name in (*WORDS, "topics")]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    works("predict", mix, "--file", folder / "rows.jsonl", "--output", folder / "answers.jsonl")
    answers = [json.loads(line)["prediction"] for line in (folder / "answers.jsonl").read_text().splitlines()]
    assert [answer in WORDS[row["task"]] for answer, row in zip(answers, rows, strict=True)][:2] == [True, True]
    assert answered("predict", mix, "--task", "topics", "a good text")["predictions"] == [answers[1]]
    works("bake", mix, "--task", "topics", "--output", folder / "topics")
    assert answered("evaluate", folder / "topics", "--split", "validation")["metrics"] == one["metrics"]
    works("report", mix, "--output", folder / "report")
    assert "topics accuracy" in (folder / "report" / "report.md").read_text()
    few = ("--train", folder / "data" / "topics.jsonl", "--validation", "50%", "--text", "t", "--label", "a")
    start = ("--from", mix, "--init-task", "reviews", "--freeze", "--name", "others")
    works("train", *start, *few, "--output", folder / "next", *SHORT)
    scores = answered("evaluate", folder / "next", "--task", "others", "--split", "validation")
    assert set(scores["metrics"]) == {"accuracy", "macro_f1"}
    if kind == "encoder":
        sizes = {"reviews": 2, "topics": 3, "grades": 1}
        assert answered("info", mix)["backbone"]["outputs"] == sizes
        assert answered("info", folder / "next")["backbone"]["outputs"] == {**sizes, "others": 3}


def test_tasks_without_test_rows_beside_one_that_has_some_are_told_and_reported(folder, backbones):
    entries = [{**ENTRIES[0], "test": "data/reviews.jsonl"}, ENTRIES[1]]
    (folder / "tasks.yaml").write_text(yaml.safe_dump(entries))
    given = ("--tasks", folder / "tasks.yaml", "--backbone", backbones["encoder"], "--method", "houlsby", *SHORT)
    trained = works("train", *given, "--output", folder / "mix")
    assert "for comparison, test split (topics: validation split)" in " ".join(trained.stdout.split())
    found = works("evaluate", folder / "mix")
    assert "test split, 12 rows" in found.stdout
    assert "without test rows, and left out: topics (--split validation has all)" in " ".join(found.stderr.split())
    works("report", folder / "mix", "--output", folder / "report")
    text = (folder / "report" / "report.md").read_text()
    assert text.count("Scores in percent, of the test split;") == 1
    assert text.count("Scores in percent, of the validation split, which chose the weights too;") == 1


def test_a_run_of_own_files_is_of_their_content_and_finds_them_where_they_were_moved(folder, backbones):
    given = ("--backbone", backbones["encoder"], "--method", "houlsby", *SHORT)
    mix = folder / "mix"
    first = answered("train", "--tasks", folder / "tasks.yaml", "--output", mix, *given)
    config = folder / "again.json"
    config.write_text(json.dumps(first["experiment"]))
    again = answered("train", "--config", config, "--output", folder / "again")
    assert again["metrics"] == first["metrics"]
    (folder / "data").rename(folder / "moved")
    failed = refuses("evaluate", mix, "--split", "validation")
    assert "reviews.validation: " in failed
    assert "is not there" in failed
    scores = answered("evaluate", mix, "--split", "validation", "--data", folder / "moved")
    assert scores["metrics"] == first["metrics"]["validation"]
    with (folder / "moved" / "topics.jsonl").open("a") as file:
        file.write('{"t": "more", "a": "music"}\n')
    changed = refuses("evaluate", mix, "--split", "validation", "--data", folder / "moved")
    assert "topics.train: " in changed
    one = ("evaluate", mix, "--data", folder / "moved", "--task")
    assert answered(*one, "reviews", "--split", "validation")["rows"] == 12
    assert "say which with --task" in refuses("evaluate", mix, "--file", folder / "moved" / "reviews.jsonl")


def test_paths_begin_at_the_folder_of_the_file_and_entries_may_be_of_many_forms(folder, monkeypatch):
    monkeypatch.chdir("/")
    long = {
        "type": "files", "train": "data/*.jsonl", "validation": "10%", "text": ["t"], "answer": "a", "answers": "text",
        "reading": {"skip_bad_rows": True}, "name": "all",
    }  # fmt: skip
    chats = {"train": "chats.jsonl", "validation": "chats.jsonl", "split_seed": 3}
    (folder / "chats.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    (folder / "classes.txt").write_text("bad\ngood\nneither\n")
    named = {**ENTRIES[0], "labels": "classes.txt", "encoding": "latin-1"}
    listed = {**ENTRIES[1], "classes": ["music", "politics", "sport", "weather"], "reading": {"encoding": "utf-8"}}
    (folder / "words.jsonl").write_text('{"w": ["a", "b"], "k": ["O", "P"]}\n')
    tags = {"train": "words.jsonl", "validation": "words.jsonl", "text": "w", "tags": "k"}
    template = {**ENTRIES[2], "name": "asked", "template": "Grade, please: {t}"}
    template.pop("text")
    own = [named, listed, long, chats, tags, template]
    mixture = {"tasks": ["demo/sentiment", {"task": "scitail"}, *own], "temperature": 2}
    (folder / "tasks.json").write_text(json.dumps(mixture))
    found = _read_task_file(folder / "tasks.json", "", 7)
    assert isinstance(found, MixtureTask)
    assert found.names == ("demo/sentiment", "scitail", "reviews", "topics", "all", "chats", "words", "asked")
    assert found.temperature == 2
    assert found.tasks[2].train == str(folder / "data" / "reviews.jsonl")
    assert found.tasks[2].classes == ("bad", "good", "neither")
    assert found.tasks[2].reading.encoding == "latin-1"
    assert found.tasks[3].classes == ("music", "politics", "sport", "weather")
    assert (found.tasks[3].validation, found.tasks[3].split_seed) == ("25%", 7)
    assert found.tasks[4].train == str(folder / "data" / "*.jsonl")
    assert found.tasks[4].reading.skip_bad_rows
    assert found.tasks[5].split_seed == 3
    assert (found.tasks[6].answer, found.tasks[6].answers) == ("k", "tags")
    assert (found.tasks[7].template, found.tasks[7].answers) == ("Grade, please: {t}", "score")
    (folder / "one.yaml").write_text("- demo/sentiment\n")
    assert _read_task_file(folder / "one.yaml", "", 7) == NamedTask(name="demo/sentiment")


WRONG = """
- {name: twice, train: data/reviews.jsonl, validation: 10%, text: t, label: a}
- {name: twice, train: data/topics.jsonl, validation: 10%, text: t, label: a}
- {name: gone, train: data/absent.jsonl, validation: 10%, text: t, label: a}
- {train: data/topics.jsonl, validation: 10%, txt: t, label: a}
- {train: data/topics.jsonl, validation: 10%, text: t}
- {train: data/topics.jsonl, validation: 10%, text: t, label: a, target: a}
- glue/mprc
- 5
- {train: data/topics.jsonl, validation: 10%, text: t, label: a, labels: [yes, no]}
- {type: files, train: data/topics.jsonl, txt: [t]}
- {task: glue/rte, train: a.jsonl}
- {train: data/topics.jsonl, validation: 10%, text: t, answer: a, answers: lable}
"""


def test_all_that_is_wrong_with_all_tasks_is_in_one_error_and_nothing_is_written(folder):
    (folder / "wrong.yaml").write_text(WRONG)
    found = refuses("train", "--tasks", folder / "wrong.yaml", "--output", folder / "out")
    for message in (
        "task 3 (gone): ",
        "absent.jsonl does not exist",
        "task 4: txt: a task of own files has no such key. Did you mean text",
        "task 5: your own files need label (or target, score, tags, span) too.",
        "task 6: label is for classes, target for free text",
        "task 7: there is no task 'glue/mprc'. Did you mean glue/mrpc",
        "task 8: 5 is no task: write a name",
        "task 9: labels is True: it should be a text",
        "txt: FilesTask has no such field. Did you mean text",
        "task 11: train: a task of the package has no such key.",
        "task 12: answers 'lable': Did you mean label",
        "twice: name each task once; `name` renames own files",
    ):
        assert message in found
    assert not (folder / "out").exists()


def test_what_is_wrong_in_the_files_of_several_tasks_is_in_one_error(folder):
    (folder / "data" / "one.jsonl").write_text('{"t": "x", "a": "b"}\n{"t": "y", "a": "b"}\n')
    entries = [
        {"train": "data/one.jsonl", "validation": "data/one.jsonl", "text": "t", "label": "a"},
        {"train": "data/topics.jsonl", "validation": "10%", "text": "title", "label": "a"},
        ENTRIES[0],
    ]
    (folder / "wrong.yaml").write_text(yaml.safe_dump(entries))
    found = refuses("train", "--tasks", folder / "wrong.yaml", "--method", "hyperformer++", "--output", folder / "out")
    assert "column 'a' holds 1 class(es) (b)" in found
    assert "has no column 'title'" in found
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("[]", (), "there is no task"),
        ("tasks: demo/sentiment", (), "holds no list of tasks"),
        ("tasks: [demo/sentiment]\ntemprature: 3", (), "Unknown: temprature"),
        ("tasks: [demo/sentiment]\ntemperature: 3", (), "temperature is for several tasks, and there is one"),
        ("tasks: [demo/sentiment, demo/paraphrase]\ntemperature: hot", (), "task.temperature='hot'"),
        ("a: [1", (), "is damaged"),
        ("- demo/sentiment", ("--task", "demo/paraphrase"), "--tasks names a file of tasks, --task what"),
        ("- demo/sentiment", ("--text", "t"), "--tasks names a file of tasks, --text what"),
        ("- demo/sentiment", ("--data", "."), "needs none: leave --data out"),
        ("- demo/sentiment", ("--data", "absent"), "--data absent: there is no such folder"),
    ],
)
def test_files_of_tasks_that_are_none_are_refused(text, words, message, folder):
    (folder / "wrong.yaml").write_text(text)
    assert message in refuses("train", "--tasks", folder / "wrong.yaml", *words, "--output", folder / "out")
    assert not (folder / "out").exists()


def test_a_hypernetwork_of_one_task_is_trained_as_the_task_alone(folder, backbones):
    (folder / "one.yaml").write_text(yaml.safe_dump(ENTRIES[:1]))
    given = ("--method", "hyperformer++", "--backbone", backbones["encoder"], *SHORT)
    works("train", "--tasks", folder / "one.yaml", "--output", folder / "one", *given)
    assert not answered("info", folder / "one")["tasks"]
