"""Adapters from descriptions on the command line: trained on own files, told of a task, asked for answers."""

import json

import pytest
import torch
import yaml
from command_line import one_json, refuses, works
from families import FAMILIES
from safetensors.torch import load_file

from hyperadapters import load_backbone

SHORT = ("--steps", "3", "--batch-size", "4", "--set", "training.evaluate_steps=3")
TASKS = {"dogs": "Is there a dog in the sentence?", "food": ["Is it about food?", "Does it say what is eaten?"]}


def answered(*words):
    """What a command prints as JSON."""
    return one_json(works(*words, "--json"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tiny BERT on disk, with the embedded tokenizer."""
    tokenizer, place = load_backbone()[1], tmp_path_factory.mktemp("encoder")
    FAMILIES["bert"].make(vocab_size=len(tokenizer), max_position_embeddings=64).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


@pytest.fixture(scope="module")
def mix(tmp_path_factory, encoder):
    """An adapter of two described tasks of own files, and the folder of all that."""
    folder = tmp_path_factory.mktemp("described")
    for name in TASKS:
        rows = [{"t": f"a text of {name if i % 2 else 'nothing'} {i}", "a": ["no", "yes"][i % 2]} for i in range(12)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entries = [
        {"name": name, "train": f"{name}.jsonl", "validation": f"{name}.jsonl", "text": "t", "label": "a",
         "description": said}
        for name, said in TASKS.items()
    ]  # fmt: skip
    (folder / "tasks.yaml").write_text(yaml.safe_dump(entries))
    for source in ("description", "examples"):
        method = ("--method", "hyperformer++", "--set", f"method.task_source={source}", "--backbone", encoder)
        works("train", "--tasks", folder / "tasks.yaml", *method, "--output", folder / source, *SHORT)
    return folder


def test_a_described_task_answers_without_training(mix, encoder):
    said = answered("describe", mix / "description", *TASKS["food"], "--output", mix / "again")
    assert (said["nearest"], said["task"], said["method"]) == ("food", "again", "Adapter")
    text = "a text of food 1"
    expected = answered("predict", mix / "description", "--task", "food", text, "--scores")
    found = answered("predict", mix / "again", text, "--scores")
    assert found["predictions"] == expected["predictions"]
    config = json.loads((mix / "again" / "adapter_config.json").read_text())
    assert (config["tasks"], config["task"]["name"], config["task"]["fields"]) == ([], "again", ["t"])
    assert config["descriptions"] == {"again": TASKS["food"]}
    saved = json.loads((mix / "description" / "adapter_config.json").read_text())["descriptions"]
    assert saved == {"dogs": [TASKS["dogs"]], "food": TASKS["food"]}
    scored = answered("evaluate", mix / "again", "--file", mix / "food.jsonl")
    assert scored["rows"] == 12


def test_a_task_is_written_from_rows_with_answers(mix):
    said = answered("describe", mix / "examples", "--examples", mix / "dogs.jsonl", "--output", mix / "shown")
    assert said["nearest"] == "dogs"
    assert answered("predict", mix / "shown", "a text")["predictions"][0] in ("no", "yes")


def test_a_new_task_of_a_run_that_goes_on_starts_from_its_description(mix, encoder):
    entry = {"name": "birds", "train": "dogs.jsonl", "validation": "dogs.jsonl", "text": "t", "label": "a",
             "description": TASKS["food"]}  # fmt: skip
    (mix / "more.yaml").write_text(yaml.safe_dump([entry]))
    result = answered("train", "--from", mix / "description", "--tasks", mix / "more.yaml", "--freeze",
                      "--output", mix / "more", "--lr", "1e-9", *SHORT)  # fmt: skip
    assert result["by_kind"] == {"adapter": 32}
    text = ("a text of food 1", "--scores")
    expected = answered("predict", mix / "description", "--task", "food", *text)
    assert answered("predict", mix / "more", "--task", "birds", *text) | {"task": ""} == expected | {"task": ""}


def test_a_task_that_goes_on_keeps_what_its_state_has_learned(mix):
    entry = {"name": "birds", "train": "dogs.jsonl", "validation": "dogs.jsonl", "text": "t", "label": "a",
             "description": "Is there a bird?"}  # fmt: skip
    (mix / "one.yaml").write_text(yaml.safe_dump([entry]))
    steps = ("--tasks", mix / "one.yaml", "--freeze", *SHORT)
    works("train", "--from", mix / "description", *steps, "--lr", "0.5", "--output", mix / "learned")
    works("train", "--from", mix / "learned", *steps, "--lr", "1e-9", "--output", mix / "on")
    learned, on = (load_file(mix / run / "adapter_model.safetensors") for run in ("learned", "on"))
    name = "adapters.task_states.states"
    torch.testing.assert_close(on[name], learned[name])


def test_what_cannot_be_described_is_refused_and_nothing_is_written(mix, encoder, tmp_path):
    to = ("--output", tmp_path / "new")
    for given, said in (
        ((), "say what the new task is"),
        (("birds", "--examples", mix / "dogs.jsonl"), "say what the new task is"),
        (("",), "says nothing of a task"),
        (("bird " * 200,), "backbone reads 64 tokens"),
        (("birds", "--like", "fish"), "fish"),
        (("--examples", mix / "dogs.jsonl"), "made to read a task's description, not its examples"),
    ):
        assert said in refuses("describe", mix / "description", *given, *to)
        assert not (tmp_path / "new").exists()
    assert "not its description" in refuses("describe", mix / "examples", "birds", *to)
    entries = yaml.safe_load((mix / "tasks.yaml").read_text())
    del entries[1]["description"]
    (mix / "fewer.yaml").write_text(yaml.safe_dump(entries))
    method = ("--method", "hyperformer++", "--set", "method.task_source=description", "--backbone", encoder)
    said = refuses("train", "--tasks", mix / "fewer.yaml", *method, *to, *SHORT)
    assert "food: no description" in said
    said = refuses("train", "--train", mix / "dogs.jsonl", "--validation", "10%", "--text", "t", "--label", "a",
                   *method, *to, *SHORT)  # fmt: skip
    assert "two or more" in said
    works("train", "--tasks", mix / "tasks.yaml", "--method", "hyperformer++", "--backbone", encoder, "--output",
          tmp_path / "table", *SHORT)  # fmt: skip
    assert "reads no descriptions. Train one that does" in refuses("describe", tmp_path / "table", "birds", *to)
