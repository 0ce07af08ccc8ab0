"""A share of the training rows to validate with, and own rows from a data set of the Hub."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from datasets import ClassLabel, Dataset, Features

from hyperadapters import METHODS, Experiment, FilesTask, InputError, Training, instruction_task, own_task
from hyperadapters._utils.errors import UnavailableError
from hyperadapters._utils.hub import HubAnswer
from hyperadapters.runs import check_sources
from hyperadapters.tasks.splits import _counts_by_class


def labelled(path, *labels):
    path.write_text("".join(json.dumps({"t": f"row {i}", "y": label}) + "\n" for i, label in enumerate(labels)))
    return path


def split_off(train, share="10%", answers="label", **how):
    """The texts of each split's rows, by class."""
    task = own_task({"train": train, "validation": share}, ("t",), "y", answers=answers, name="rows", **how)
    return {split: [(row.source, row.target) for row in rows] for split, rows in task.examples(None).items()}


def test_a_share_of_the_training_rows_has_every_class_in_proportion(tmp_path):
    train = labelled(tmp_path / "a.jsonl", *["often"] * 60, *["seldom"] * 30, *["rare"] * 10)
    found = split_off(train, "20%")
    assert Counter(label for _, label in found["validation"]) == {"often": 12, "seldom": 6, "rare": 2}
    assert Counter(found["train"]) + Counter(found["validation"]) == Counter(
        split_off(train, "50%")["train"]
    ) + Counter(split_off(train, "50%")["validation"])
    assert len(found["train"]) == 80


def test_the_split_is_the_seeds_and_nothing_elses(tmp_path):
    train = labelled(tmp_path / "a.jsonl", *["yes", "no"] * 50)
    assert split_off(train) == split_off(train, split_seed=42)
    assert split_off(train)["validation"] != split_off(train, split_seed=1)["validation"]


@pytest.mark.parametrize("share", ["10%", "50%", "99%"])
def test_a_row_of_every_class_is_left_to_train_on(share, tmp_path):
    labels = [f"class {i % 20}" for i in range(45)] + ["single"]
    found = split_off(labelled(tmp_path / "a.jsonl", *labels), share)
    assert {label for _, label in found["train"]} == {*labels}
    assert "single" not in {label for _, label in found["validation"]}


@pytest.mark.parametrize(
    ("labels", "share", "message"),
    [
        (("a", "b", "c"), "50%", "3 training .*each of them is the only one of its class"),
        (("a", "b") * 10, "1%", "validation 1% of 20 training row.*less than a row"),
    ],
)
def test_too_few_rows_to_split_are_refused(labels, share, message, tmp_path):
    with pytest.raises(InputError, match=message):
        split_off(labelled(tmp_path / "a.jsonl", *labels), share)


def test_text_answers_are_split_without_regard_to_them(tmp_path):
    found = split_off(labelled(tmp_path / "a.jsonl", *[f"answer {i}" for i in range(20)]), "25%", answers="text")
    assert (len(found["train"]), len(found["validation"])) == (15, 5)
    with pytest.raises(InputError, match="less than a row"):
        split_off(labelled(tmp_path / "a.jsonl", "one"), "25%", answers="text")


def test_the_turns_of_a_conversation_stay_together(tmp_path):
    chat = [{"role": role, "content": f"{role} {i}"} for i in range(3) for role in ("user", "assistant")]
    path = tmp_path / "chats.jsonl"
    path.write_text(
        "".join(json.dumps({"messages": [{"role": "system", "content": str(n)}, *chat]}) + "\n" for n in range(10))
    )
    found = instruction_task({"train": path, "validation": "20%"}, name="chats").examples(None)
    assert (len(found["train"]), len(found["validation"])) == (24, 6)
    parts = [{row.turns[0]["content"] for row in found[split]} for split in ("train", "validation")]
    assert not parts[0] & parts[1]


def test_a_label_that_training_lacks_says_what_to_do(tmp_path):
    train, other = labelled(tmp_path / "a.jsonl", "yes", "no"), labelled(tmp_path / "b.jsonl", "perhaps")
    with pytest.raises(InputError, match=r"b.jsonl:1: label 'perhaps'\n  Classes are those of the training rows: add"):
        own_task({"train": train, "validation": other}, ("t",), "y", answers="label", name="rows").examples(None)


def test_several_files_are_read_one_after_the_other(tmp_path):
    labelled(tmp_path / "part-1.jsonl", "yes", "no")
    labelled(tmp_path / "part-2.jsonl", "maybe")
    files = {"train": f"{tmp_path}/part-*.jsonl", "validation": f"{tmp_path}/part-2.jsonl,{tmp_path}/part-1.jsonl"}
    found = own_task(files, ("t",), "y", answers="label", name="rows").examples(None)
    assert [row.target for row in found["train"]] == ["yes", "no", "maybe"]
    assert [row.target for row in found["validation"]] == ["maybe", "yes", "no"]


@pytest.fixture(name="hub")
def data_set_in_this_folder(tmp_path, monkeypatch):
    """A data set that `datasets` finds under owner/films without a network: a folder of this name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hyperadapters.tasks.hub_rows.ask_hub", lambda *_, **__: HubAnswer("found"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "owner" / "films" / "plain"
    folder.mkdir(parents=True)
    rows = Dataset.from_list([{"quote": f"q{i}", "mood": i % 2} for i in range(8)])
    rows = rows.cast(Features({**rows.features, "mood": ClassLabel(names=["dull", "fine"])}))
    for split in ("train", "test"):
        rows.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    (folder.parent / "README.md").write_text(
        "---\nconfigs:\n- config_name: plain\n  data_files:\n  - split: train\n    path: plain/train-*\n"
        "  - split: test\n    path: plain/test-*\n- config_name: other\n  data_files: plain/test-*\n---\n"
    )


def test_a_data_set_of_the_hub_has_ones_own_columns_and_its_names_of_classes(hub):
    files = {"train": "hf://owner/films/plain", "validation": "hf://owner/films/plain:train[:2]", "test": "25%"}
    files["test"] = "hf://datasets/owner/films/plain"
    found = own_task(files, ("quote",), "mood", answers="label", name="films").examples(None)
    assert [row[:2] for row in found["validation"]] == [("quote: q0", "dull"), ("quote: q1", "fine")]
    assert (len(found["train"]), len(found["test"])) == (8, 8)
    with_share = {"train": "hf://owner/films/plain", "validation": "25%"}
    assert len(own_task(with_share, ("quote",), "mood", answers="label", name="f").examples(None)["validation"]) == 2


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("hf://films", "write a data set of the Hugging Face Hub as hf://owner/name"),
        ("hf://owner/films", "(?s)could not be read.*plain.*Name configuration and split as"),
        ("hf://owner/films/absent", "(?s)could not be read.*absent.*plain"),
        ("hf://owner/films/plain:validation", "(?s)could not be read.*validation.*train"),
    ],
)
def test_a_data_set_that_is_not_there_says_why(place, message, hub):
    with pytest.raises(InputError, match=message):
        own_task({"train": place, "validation": "25%"}, ("quote",), "mood", answers="label", name="f")


def test_a_column_that_a_data_set_lacks_is_named(hub):
    with pytest.raises(InputError, match="hf://owner/films/plain has no column 'text'. Its columns: quote, mood"):
        own_task({"train": "hf://owner/films/plain", "validation": "25%"}, ("text",), "mood", answers="label", name="f")


def test_a_hub_that_does_not_answer_is_asked_once_and_nothing_is_loaded(monkeypatch):
    asked = []

    def silent(repository, *_, **__):
        asked.append(repository)
        return HubAnswer("silent", "the Hub does not answer")

    monkeypatch.setattr("hyperadapters.tasks.hub_rows.ask_hub", silent)
    monkeypatch.setattr("datasets.load_dataset", pytest.fail)
    task = FilesTask(train="hf://owner/films", validation="10%", text=("quote",), answer="mood", answers="label")
    run = Experiment(method=METHODS["compacter++"], task=task, training=Training(lr=1e-3))
    runs = [replace(run, training=Training(lr=rate)) for rate in (1e-3, 1e-2)]
    with pytest.raises(UnavailableError, match="hf://owner/films could not be read.*does not answer. Connect to"):
        check_sources(runs)
    assert asked == ["owner/films"]


def test_copies_of_a_text_are_all_trained_on_or_all_held_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"t": f"text {i % 20}", "y": "ab"[i % 2]}) + "\n" for i in range(60)))
    found = split_off(path, "25%")
    assert len(found["train"]) == 45
    assert not {text for text, _ in found["train"]} & {text for text, _ in found["validation"]}


def test_questions_on_one_text_are_all_trained_on_or_all_held_out(tmp_path):
    rows = [{"question": f"{i}?", "context": f"text {i // 4}", "answers": "text"} for i in range(80)]
    train = tmp_path / "a.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"train": train, "validation": "20%"}
    task = own_task(files, ("question", "context"), "answers", answers="span", name="quiz")
    found = {split: [row.texts[1] for row in own] for split, own in task.examples(None).items()}
    assert (len(found["train"]), len(found["validation"])) == (64, 16)
    assert not {*found["train"]} & {*found["validation"]}


def test_rows_of_files_of_one_name_are_told_apart(tmp_path):
    for number in range(10):
        (tmp_path / f"d{number}").mkdir()
        labelled(tmp_path / f"d{number}" / "row.jsonl", "ab"[number % 2]).write_text(
            json.dumps({"t": f"row {number}", "y": "ab"[number % 2]}) + "\n"
        )
    found = split_off(f"{tmp_path}/d*/row.jsonl", "20%")
    assert (len(found["train"]), len(found["validation"])) == (8, 2)


@pytest.mark.parametrize(("sizes", "share", "taken"), [([1] * 4 + [8], 0.5, 6), ([5] * 11, 0.9, 44), ([3, 3], 0.5, 3)])
def test_as_many_rows_are_held_out_as_the_share_says_if_a_row_of_each_class_is_left(sizes, share, taken):
    counts = _counts_by_class({str(number): size for number, size in enumerate(sizes)}, share)
    assert sum(counts.values()) == taken
    assert all(counts[str(number)] < size for number, size in enumerate(sizes))
