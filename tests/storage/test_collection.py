"""Many adapters in one repository: an index of their tasks, and only those fetched that rows name."""

import json
import shutil

import pytest
from command_line import works
from test_repositories import CLOSED, hub, push  # noqa: F401 (a fixture)

from hyperadapters import InputError, Pool, attach, fetch_adapters, load_backbone
from hyperadapters._utils import write_json
from hyperadapters.methods import METHODS
from hyperadapters.runs import Experiment, NamedTask
from hyperadapters.runs.building import _format_to_json
from hyperadapters.storage.collection import INDEX, _read_index
from hyperadapters.tasks import task_named
from hyperadapters.training import Training


def describe(task, method):
    """What `train` writes of a task."""
    experiment = Experiment(method=method, task=NamedTask(name=task), training=Training(lr=1e-3))
    return _format_to_json(task_named(task).form, experiment)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Three adapters of one task and one of two, beside a file that is none."""
    folder = tmp_path_factory.mktemp("many") / "adapters"
    backbone, _ = load_backbone()
    for name in ("mood/first", "mood/second", "odd [x]"):
        delta = attach(backbone, "compacter++", name="one", seed=len(name))
        delta.about = {"task": describe("demo/sentiment", delta.method)}
        delta.save(folder / name)
        delta.detach()
    tasks = ("demo/sentiment", "demo/paraphrase")
    delta = attach(backbone, METHODS["adapters-multitask"], name="mix", tasks=tasks, seed=0)
    delta.about = {"forms": {task: describe(task, delta.method) for task in tasks}}
    delta.save(folder / "mix")
    delta.detach()
    (folder / "notes.txt").write_text("mine")
    return folder


def test_a_folder_of_adapters_is_pushed_with_an_index_and_only_what_rows_name_is_fetched(
    hub,  # noqa: F811
    many,
    tmp_path,
    monkeypatch,
):
    rows = [("odd [x]", "a dull film"), ("mix/demo/sentiment", "a fine film"), ("odd [x]", "a fine film")]
    lines = [json.dumps({"task": task, "sentence": text}) for task, text in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    predict = ("predict", "me/all", "--file", "rows.jsonl")
    hub.asked(works, "push", many, "me/all")
    answers = hub.asked(works, *predict).stdout.splitlines()
    local = works("predict", many, "--file", "rows.jsonl").stdout.splitlines()
    assert [json.loads(line)["prediction"] for line in answers] == [json.loads(line)["prediction"] for line in local]

    files = hub.state.files("me/all")
    names = ["mix", "mood/first", "mood/second", "odd [x]"]
    inside = [
        f"{name}/{file}" for name in names for file in ("adapter_config.json", "adapter_model.safetensors", "README.md")
    ]
    assert sorted(files) == sorted([*inside, "README.md", "adapters.json"])
    tasks = {"mix/demo/sentiment": "mix", "mix/demo/paraphrase": "mix", **{name: name for name in names[1:]}}
    assert json.loads(files["adapters.json"])["tasks"] == tasks
    assert "hyperadapters predict me/all --file rows.jsonl" in files["README.md"].decode()
    assert "hyperadapters predict me/all --task 'odd [x]' " in files["odd [x]/README.md"].decode()
    assert "--task mix/demo/sentiment " in files["mix/README.md"].decode()
    assert 'ha.fetch_adapters("me/all", ["mood/first"])["mood/first"]' in files["mood/first/README.md"].decode()

    fetched = {path.relative_to(hub.home / "hub").parts[3] for path in hub.home.rglob("adapter_*")}
    assert fetched == {"mix", "odd [x]"}
    assert hub.asked(works, *predict, endpoint=CLOSED).stdout.splitlines() == answers
    backbone, _ = load_backbone()
    pool = Pool(backbone, hub.asked(fetch_adapters, "me/all", ["first", "mood/second"]))
    assert [*pool] == ["first", "mood/second"]
    assert "the repository me/all knows no task 'none'" in hub.asked(fetch_adapters, "me/all", ["none"])
    absent = hub.asked(fetch_adapters, "me/all", ["mood/x", "none"], endpoint=CLOSED)
    assert "knows no task" in absent


def test_one_damaged_adapter_of_many_stops_the_upload(hub, many, tmp_path):  # noqa: F811
    shutil.copytree(many, tmp_path / "copy")
    (tmp_path / "copy" / "mix" / "adapter_model.safetensors").write_bytes(b"x")
    (tmp_path / "copy" / "mood" / "first" / "adapter_config.json").write_text("{}")
    text = push(hub, tmp_path / "copy", repository="me/all")
    assert "mix/adapter_model.safetensors is not a whole safetensors file" in text
    assert "mood/first/adapter_config.json does not say its format" in text
    assert hub.state.asked == []


def test_adapters_of_a_folder_are_found_by_name(many):
    assert fetch_adapters(many, ["second"]) == {"second": many / "mood" / "second"}
    with pytest.raises(InputError, match="knows no task 'none'"):
        fetch_adapters(many, ["none"])


@pytest.mark.parametrize(
    "tasks",
    [
        {},
        [],
        {"../a": "../a"},
        {"/a": "/a"},
        {"a": "b"},
        {"a/../b": "a/../b"},
        {"a\\b": "a\\b"},
        {"a": 1},
        {".": "."},
        {"a//b": "a//b"},
    ],
)
def test_an_index_that_leaves_its_repository_is_refused(tmp_path, tasks):
    write_json(tmp_path / INDEX, {"format": 1, "tasks": tasks})
    with pytest.raises(InputError, match="is damaged"):
        _read_index(tmp_path / INDEX)


def test_a_newer_index_is_refused(tmp_path):
    write_json(tmp_path / INDEX, {"format": 2, "tasks": {"a": "a"}})
    with pytest.raises(InputError, match="has format 2; this version reads 1"):
        _read_index(tmp_path / INDEX)
