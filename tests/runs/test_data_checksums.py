"""A run is of certain data: other data in their place are never taken for them."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_backbones import small_run  # noqa: F401 (a fixture)
from training_runs import rows_file

from hyperadapters import InputError, MixtureTask, NamedTask, load_backbone, run
from hyperadapters._utils import read_json, write_json
from hyperadapters.runs.building import load_task
from hyperadapters.runs.data_checksums import (
    _source_of_split,
    changed_data,
    identity_of,
    moved_to,
    with_checksums,
    with_labels,
)
from hyperadapters.runs.experiment import EXPERIMENT, Experiment
from hyperadapters.runs.result import read_result
from hyperadapters.runs.task_choice import task_name
from hyperadapters.storage.loading import read_config
from hyperadapters.sweeps.keys import _keyed, experiment_key
from hyperadapters.training.trainer import Trainer


def changed(path):
    """The file with other answers in as many bytes."""
    text = Path(path).read_text()
    Path(path).write_text(text.replace('"yes"', '"tmp"').replace('"no"', '"yes"').replace('"tmp"', '"no"'))


def test_a_run_writes_where_its_files_lie_and_what_they_hold(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    near = replace(small, task=replace(small.task, train="train.jsonl", validation="./validation.jsonl"))
    result = run(near, "out", quiet=True)
    task = json.loads((tmp_path / "out" / EXPERIMENT).read_text())["task"]
    assert result.experiment["task"] == task == read_result(tmp_path / "out").experiment["task"]
    assert (task["train"], task["validation"]) == (str(tmp_path / "train.jsonl"), str(tmp_path / "validation.jsonl"))
    assert set(task["checksums"]) == {"train", "validation", "labels"}
    assert read_config("out")["data"] == {result.task: task["checksums"]}


def test_the_checksum_of_a_file_is_that_of_its_bytes(small):
    found = with_checksums(small).task.checksums
    assert found["train"] == hashlib.sha256(Path(small.task.train).read_bytes()).hexdigest()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_experiment_of_other_data_is_refused(split, small, tmp_path):
    known = with_checksums(small)
    path = getattr(small.task, split)
    changed(path)
    with pytest.raises(
        InputError, match=rf"{split}: {path} has the SHA-256 \w{{12}}, not {known.task.checksums[split][:12]}"
    ):
        run(known, tmp_path / "out", quiet=True)
    Path(path).unlink()
    with pytest.raises(InputError, match=f"{split}: {path} is not there"):
        run(known, tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_finished_run_is_not_that_of_other_data(split, small, tmp_path):
    run(small, tmp_path / "out", quiet=True)
    changed(getattr(small.task, split))
    with pytest.raises(InputError, match=rf"holds a run of other data:\s+{split}: SHA-256"):
        run(small, tmp_path / "out", resume=True, quiet=True)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_run_goes_on_with_its_own_rows_alone_even_without_checksums(split, small, tmp_path, monkeypatch):
    """Rows of the Hub have no files: the checkpoint itself knows the rows."""
    longer = replace(small, training=replace(small.training, epochs=2))
    step = Trainer.step

    def failing(self, rows):
        if self.state.step == 4:
            raise RuntimeError("stopped")
        return step(self, rows)

    monkeypatch.setattr(Trainer, "step", failing)
    with pytest.raises(RuntimeError, match="stopped"):
        run(longer, tmp_path / "out", quiet=True)
    monkeypatch.setattr(Trainer, "step", step)
    begun = read_json(tmp_path / "out" / EXPERIMENT)
    changed(getattr(small.task, split))
    now = with_checksums(longer).task.checksums
    begun["task"]["checksums"] = now
    write_json(tmp_path / "out" / EXPERIMENT, begun)
    with pytest.raises(InputError, match="other settings" if split == "train" else "with another validation rows"):
        run(longer, tmp_path / "out", resume=True, quiet=True)


def test_moved_files_are_the_same_data(small, tmp_path):
    run(small, tmp_path / "out", quiet=True)
    known = Experiment.from_json(json.loads((tmp_path / "out" / EXPERIMENT).read_text()))
    (tmp_path / "new").mkdir()
    for name in ("train.jsonl", "validation.jsonl"):
        shutil.move(tmp_path / name, tmp_path / "new" / name)
    assert set(changed_data(known.task)) == {"train", "validation"}
    moved = replace(known, task=moved_to(known.task, tmp_path / "new"))
    assert changed_data(moved.task) == {}
    assert run(moved, tmp_path / "out", resume=True, quiet=True) == read_result(tmp_path / "out")


def test_files_of_one_name_are_found_by_their_folders(small, tmp_path):
    for split in ("train", "validation"):
        (tmp_path / "old" / split).mkdir(parents=True)
        rows_file(tmp_path / "old" / split / "rows.jsonl", 8 if split == "train" else 6)
    places = {split: str(tmp_path / "old" / split / "rows.jsonl") for split in ("train", "validation")}
    task = with_checksums(replace(small, task=replace(small.task, **places))).task
    shutil.move(tmp_path / "old", tmp_path / "new")
    assert changed_data(moved_to(task, tmp_path / "new")) == {}


def test_the_labels_are_told_apart_from_others(small):
    backbone, tokenizer = load_backbone()
    data = load_task(small, tokenizer, backbone)
    known = with_labels(with_checksums(small), data)
    path = Path(small.task.train)
    path.write_text(path.read_text().replace('"yes"', '"maybe"'))
    with pytest.raises(InputError, match="labels: they are others now"):
        load_task(replace(known, task=replace(known.task, validation=small.task.train)), tokenizer, backbone)


def test_a_key_is_of_what_files_hold_wherever_they_lie(small, tmp_path):
    first = experiment_key(small)
    shutil.copytree(Path(small.task.train).parent, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
    copied = replace(small, task=moved_to(with_checksums(small).task, tmp_path / "copy"))
    assert experiment_key(copied).split("_")[-1] == first.split("_")[-1]  # before it stands the folder's name
    assert experiment_key(with_checksums(small)) == first
    absent = replace(small, task=replace(small.task, train="absent"))
    assert list(_keyed([small, small, absent])) == [first, experiment_key(absent)]
    changed(small.task.validation)
    assert experiment_key(small) != first
    assert identity_of(small)["task"]["train"] == small.task.train


def test_a_share_of_the_rows_stays_in_the_identity_and_is_of_the_training_file(small, tmp_path):
    task = replace(small.task, validation="25%")
    shared = with_checksums(replace(small, task=task))
    assert set(shared.task.checksums) == {"train"}
    assert shared.task.validation == identity_of(shared)["task"]["validation"] == "25%"
    assert experiment_key(shared) != experiment_key(replace(shared, task=replace(shared.task, split_seed=1)))
    assert (_source_of_split(task, "validation"), _source_of_split(small.task, "validation")) == ("train", "validation")
    backbone, tokenizer = load_backbone()
    seeds = [replace(shared, training=replace(small.training, seed=seed)) for seed in (1, 2)]
    data = [load_task(experiment, tokenizer, backbone) for experiment in seeds]
    assert data[0].splits == data[1].splits
    assert len(data[0].splits["validation"]) == 6


def test_a_pattern_has_one_checksum_of_all_its_files(small, tmp_path):
    shutil.copy(small.task.train, tmp_path / "part-1.jsonl")
    pattern = replace(small, task=replace(small.task, train=f"{tmp_path}/part-*.jsonl"))
    known = with_checksums(pattern)
    shutil.copy(small.task.validation, tmp_path / "part-2.jsonl")
    assert list(changed_data(known.task)) == ["train"]


def test_rows_of_the_hub_have_no_checksums_and_are_told_by_their_place(small):
    task = replace(small.task, train="hf://owner/films", validation="10%")
    experiment = with_checksums(replace(small, task=task))
    assert experiment.task == task
    labelled = replace(experiment, task=replace(task, checksums={"labels": "0"}))
    assert identity_of(labelled) == identity_of(experiment)


@pytest.mark.parametrize(
    ("places", "name"),
    [
        ({"train": "a/reviews.jsonl.gz"}, "reviews"),
        ({"train": "a/train.csv"}, "a"),
        ({"train": "a/part-*.jsonl"}, "part"),
        ({"train": "a/*.jsonl"}, "a"),
        ({"train": "a/x.jsonl,a/y.jsonl"}, "x"),
        ({"train": "hf://owner/films/plain:train"}, "films"),
        ({"train": "x.jsonl", "name": "mine/films"}, "mine/films"),
    ],
)
def test_own_files_are_called_by_their_name_or_the_training_files(places, name, small):
    assert task_name(replace(small.task, **places)) == name


@pytest.mark.parametrize("name", ["a b", "a,b", "a+b", "/a", "a/", ".a", "glue/rte"])
def test_a_name_that_would_be_taken_for_others_is_refused(name, small):
    with pytest.raises(InputError, match=f"name {re.escape(repr(name))}: "):
        replace(small.task, name=name)


def glue(folder, rows=12):
    """An official folder of RTE."""
    place = folder / "RTE"
    place.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        lines = [f"{i}\tthe king {i} saw\tthe king saw\t{('not_' * (i % 2))}entailment" for i in range(rows)]
        (place / name).write_text("\n".join(["index\tsentence1\tsentence2\tlabel", *lines]) + "\n")
    return folder


def test_official_files_have_checksums_and_a_key_that_does_not_hang_on_them(small, tmp_path):
    official = replace(small, task=NamedTask(name="glue/rte", data=str(glue(tmp_path / "glue"))))
    known = with_checksums(official)
    assert set(known.task.checksums) == {"train", "validation"}
    assert (
        experiment_key(known)
        == experiment_key(official)
        == experiment_key(replace(small, task=NamedTask(name="glue/rte")))
    )
    several = with_checksums(
        replace(small, task=MixtureTask.named("glue/rte", "demo/sentiment", data=official.task.data))
    )
    assert set(several.task.checksums) == {"glue/rte.train", "glue/rte.validation"}
    assert several.task.tasks[0].checksums == known.task.checksums
    (tmp_path / "glue" / "RTE" / "dev.tsv").write_text("other")
    assert list(changed_data(known.task)) == ["validation"]
