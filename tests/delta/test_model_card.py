"""The card of a saved adapter: what the Hub reads of it, whatever the names are, and no path of anybody's disk."""

import os

import pytest
import yaml
from huggingface_hub import ModelCard

from hyperadapters import TASKS, attach
from hyperadapters._utils import hub_name
from hyperadapters.delta.model_card import _render_model_card
from hyperadapters.delta.saving import describe_delta

FORM = {**TASKS["glue/mrpc"].form.to_json(), "dataset": TASKS["glue/mrpc"].dataset}
HARD = (
    "a: b",
    "\"quoted\" 'twice'",
    "ümläut 日本 🙂",
    "- x",
    "---",
    "a\n---\nb",
    "{a}: [b",
    "x" * 3000,
    "null",
    "|",
    "#",
)


@pytest.fixture
def describe(tiny):
    """What a config says of an adapter for a backbone of this name."""
    delta = attach(tiny, "compacter++", name="mine")

    def described(backbone="", **about):
        tiny.config._name_or_path = backbone
        return {**describe_delta(delta), **about}

    return described


def read(text):
    """A card as huggingface_hub reads it, and its metadata as YAML has it."""
    card = ModelCard(text)
    block = text.removeprefix("---\n").split("\n---\n")[0]
    assert yaml.safe_load(block) == card.data.to_dict()
    return card


@pytest.mark.parametrize("name", ["bert-base-uncased", "gpt2", "t5-base", "answerdotai/ModernBERT-base"])
def test_a_backbone_of_the_hub_is_the_base_model(describe, name):
    card = read(_render_model_card(describe(name)))
    assert (card.data.base_model, card.data["base_model_relation"]) == (name, "adapter")
    assert card.data.library_name == "hyperadapters"
    assert f"loads {name} too" in card.text


@pytest.mark.parametrize("name", ["", "embedded", "./t5-base", "~/t5", "a/b/c", "a: b", "t5-base\n---"])
def test_what_is_no_name_of_the_hub_is_no_base_model(describe, name):
    assert "base_model" not in read(_render_model_card(describe(name))).data.to_dict()


@pytest.mark.parametrize("place", ["absolute", "relative"])
def test_no_path_stands_in_a_card(describe, tmp_path, monkeypatch, place):
    (tmp_path / "secret" / "t5").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    name = str(tmp_path / "secret" / "t5") if place == "absolute" else "secret/t5"
    text = _render_model_card(describe(name))
    assert "secret" not in text
    assert str(tmp_path) not in text
    assert "An adapter (Compacter) for a t5 that is not on the Hub" in text
    assert "--backbone FOLDER_OF_THE_BACKBONE" in text


def test_a_folder_of_the_local_hub_cache_has_the_name_of_its_repository():
    snapshot = "snapshots/" + "0" * 40
    assert hub_name(f"{os.sep}home/me/hub/models--google-t5--t5-base/{snapshot}") == "google-t5/t5-base"
    assert hub_name(f"{os.sep}home/me/hub/models--gpt2/{snapshot}") == "gpt2"


@pytest.mark.parametrize("name", HARD)
def test_hard_names_give_valid_metadata(describe, name):
    scores = {"test": {f"{name}.accuracy": 0.5, f"{name}.mine:own": 2.0}}
    forms = {name: {**FORM, "name": name}, "other": FORM}
    card = read(_render_model_card(describe("t5-base", name=name, tasks=[name], forms=forms, scores=scores)))
    (result, own) = card.data.eval_results
    assert card.data.model_name == name
    assert (result.dataset_name, result.metric_type, result.metric_value) == (name, "accuracy", 0.5)
    assert own.metric_type == "mine:own"
    assert "## Use" in card.text


def test_scores_become_a_model_index_with_the_names_of_the_hub(describe):
    scores = {"validation": {"accuracy": 0.75, "f1": float("nan")}, "test": {"accuracy": 0.5, "f1": 0.25}}
    data = read(_render_model_card(describe("t5-base", task=FORM, scores=scores))).data
    assert data.pipeline_tag == "text-classification"
    assert (data.datasets, data.metrics) == (["nyu-mll/glue"], ["accuracy", "f1"])
    found = [
        (r.dataset_type, r.dataset_config, r.dataset_split, r.metric_type, r.metric_value) for r in data.eval_results
    ]
    assert found == [
        ("nyu-mll/glue", "mrpc", "validation", "accuracy", 0.75),
        ("nyu-mll/glue", "mrpc", "test", "accuracy", 0.5),
        ("nyu-mll/glue", "mrpc", "test", "f1", 0.25),
    ]


def test_scores_of_a_mixture_stand_under_the_tasks_that_they_are_of(describe):
    """A mixture calls its metrics by the ends of its tasks' names."""
    names = ("glue/mrpc", "glue/rte", "superglue/rte")
    forms = {name: {**FORM, "name": name, "dataset": {**FORM["dataset"], "config": name}} for name in names}
    scores = {"test": {"mrpc.accuracy": 0.5, "glue/rte.accuracy": 0.25, "superglue/rte.accuracy": 0.75}}
    data = read(_render_model_card(describe("t5-base", tasks=[*names], forms=forms, scores=scores))).data
    found = [(r.dataset_name, r.dataset_config, r.metric_type, r.metric_value) for r in data.eval_results]
    assert found == [(name, name, "accuracy", value) for name, value in zip(names, (0.5, 0.25, 0.75), strict=True)]


def test_own_files_are_no_data_set_of_the_hub(describe):
    form = {**FORM, "name": "my reviews", "dataset": {}}
    data = read(_render_model_card(describe("t5-base", task=form, scores={"test": {"matthews": 0.5}}))).data
    assert data.datasets is None
    assert (data.eval_results[0].dataset_type, data.eval_results[0].dataset_name) == ("my-reviews", "my reviews")
    assert data.metrics == ["matthews_correlation"]


@pytest.mark.parametrize(
    ("answers", "tag"),
    [
        ("labels", "text-classification"),
        ("score", "text-classification"),
        ("tags", "token-classification"),
        ("span", "question-answering"),
        ("text", "text-generation"),
    ],
)
def test_the_kind_of_answers_is_the_hubs_pipeline(describe, answers, tag):
    form = {**FORM, "target": {"type": answers}}
    assert read(_render_model_card(describe(task=form))).data.pipeline_tag == tag


def test_without_a_task_the_head_tells_the_pipeline_and_tasks_that_differ_have_none(describe):
    assert read(_render_model_card(describe())).data.pipeline_tag == "text-generation"
    backbone = describe()["backbone"]
    for head, tag in {"sequence": "text-classification", "token": "token-classification"}.items():
        config = describe() | {"backbone": {**backbone, "outputs": 3, "head": head}}
        assert read(_render_model_card(config)).data.pipeline_tag == tag
    forms = {"a": FORM, "b": {**FORM, "target": {"type": "text"}}}
    assert read(_render_model_card(describe(forms=forms))).data.pipeline_tag is None


def test_the_saved_card_is_the_one_that_is_described(tiny, tmp_path):
    delta = attach(tiny, "compacter++", name="mine")
    delta.about = {"task": FORM}
    folder = delta.save(tmp_path / "a")
    card = ModelCard.load(folder / "README.md")
    assert card.data.to_dict() == read(_render_model_card(describe_delta(delta))).data.to_dict()
    assert "compacter" in card.data.tags
