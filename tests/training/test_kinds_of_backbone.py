"""Commands and free text on every kind of backbone."""

import json
from pathlib import Path

import pytest
import torch
from families import FAMILIES
from typer.testing import CliRunner

from hyperadapters import METHODS, Predictor, Text, Training, attach, fit, load_backbone, load_data, own_task
from hyperadapters.cli.__main__ import app
from hyperadapters.tasks.targets import Labels
from hyperadapters.tasks.task_format import TaskFormat
from hyperadapters.training.config import Evaluation
from hyperadapters.training.evaluation import evaluate


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Tiny backbones of two kinds on disk, with the embedded tokenizer."""
    tokenizer = load_backbone()[1]
    found = {}
    for kind, name in (("encoder", "bert"), ("decoder", "llama")):
        folder = tmp_path_factory.mktemp(kind)
        FAMILIES[name].make(vocab_size=len(tokenizer)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        found[kind] = str(folder)
    return found


def short_run(rows: int) -> list[str]:
    settings = ("training.epochs=1", f"text.train_rows={rows}", "text.evaluation_rows=64")
    return [word for setting in settings for word in ("--set", setting)]


def command(*words: str) -> dict:
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("kind", ["encoder", pytest.param("decoder", marks=pytest.mark.slow)])
def test_every_command_works_on_every_kind(kind, folders, tmp_path):
    short = short_run(rows=64)
    out = str(tmp_path / "compare")
    given = ["--task", "demo/acceptability", "--backbone", folders[kind]]
    compared = command("compare", *given, "--methods", "compacter,full", "--output", out, *short)
    assert [result["method"] for result in compared["results"]] == ["compacter", "full"]
    adapter = f"{out}/compacter"
    again = command("evaluate", adapter, "--split", "test")
    assert again["metrics"] == compared["results"][0]["metrics"]["test"]
    answers = command("predict", adapter, "this farmers like that king .", "a text")["predictions"]
    assert set(answers) <= {"0", "1"}
    assert len(answers) == 2
    scored = command("predict", adapter, "this farmer likes that king .", "a text", "--scores")
    assert scored["predictions"] == [max(labels, key=labels.get) for labels in scored["scores"]]
    assert all(set(labels) == {"0", "1"} and abs(sum(labels.values()) - 1) < 1e-5 for labels in scored["scores"])
    assert command("info", adapter)["backbone"]["outputs"] == (2 if kind == "encoder" else None)
    counted = command("count", "--backbone", folders[kind], "--method", "compacter")
    assert counted["trained"] == compared["results"][0]["trained"]


def test_an_encoders_probabilities_are_the_softmax_of_its_logits(folders):
    backbone, tokenizer = load_backbone(folders["encoder"])
    form = TaskFormat("mine", ("x",), Labels(("a", "b", "c")))
    delta = attach(backbone, METHODS["compacter"], outputs=3, seed=0)
    predictor = Predictor(delta, tokenizer, form, Text(), Evaluation())
    texts = ["one", "two three four"]
    with torch.no_grad():
        logits = torch.cat([backbone(**tokenizer(text, return_tensors="pt")).logits for text in texts])
    found = predictor.probabilities([{"x": text} for text in texts])
    for labels, shares in zip(found, logits.softmax(-1), strict=True):
        assert [labels[text] for text in ("a", "b", "c")] == pytest.approx(shares.tolist(), abs=1e-6)


def test_a_decoder_answers_in_free_text(folders, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"x": "one", "y": "a text"}\n{"x": "two", "y": "another"}\n')
    files = dict.fromkeys(("train", "validation"), tmp_path / "a.jsonl")
    task = own_task(files, ("x",), "y", answers="text", name="own")
    backbone, tokenizer = load_backbone(folders["decoder"])
    data = load_data(task, tokenizer, backbone=backbone)
    delta = attach(backbone, METHODS["full"])
    fit(delta, data, Training(lr=3e-3, epochs=60, batch_size=2, evaluate_steps=60), quiet=True)
    assert evaluate(delta, data, "validation", Evaluation(decode="generate")).answers == ["a text", "another"]


def test_an_adapter_of_another_backbone_is_refused_with_one_line_and_nothing_is_left(folders, tmp_path):
    backbone, _ = load_backbone(folders["encoder"])
    attach(backbone, METHODS["compacter"], outputs=2).save(tmp_path / "two")
    words = ["--from", str(tmp_path / "two"), "--task", "demo/entailment", "--backbone", folders["decoder"]]
    result = CliRunner().invoke(app, ["train", *words, "--output", str(tmp_path / "out")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "was trained on another backbone" in result.stderr
    assert result.stderr.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # so does test_heads_of_different_sizes.py
def test_tasks_with_different_numbers_of_classes_share_an_encoder(folders, tmp_path):
    """Trained, scored, answered by row, baked, and continued with a task of another number of classes."""
    short = short_run(rows=32)
    mix, given = str(tmp_path / "mix"), ["--method", "houlsby", "--backbone", folders["encoder"], *short]
    result = command("train", "--task", "demo/sentiment,demo/entailment", "--output", mix, *given)
    assert command("info", mix)["backbone"]["outputs"] == {"demo/sentiment": 2, "demo/entailment": 3}
    assert command("evaluate", mix)["metrics"] == result["metrics"]["test"]
    pair = {"premise": "the king slept .", "hypothesis": "a king slept ."}
    rows = [{"task": "sentiment", "sentence": "a dull film"}, {"task": "entailment", **pair}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command("predict", mix, "--file", str(tmp_path / "rows.jsonl"), "--output", str(tmp_path / "answers.jsonl"))
    answers = [json.loads(line)["prediction"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    for task, texts, answer in zip(
        ("sentiment", "entailment"), (["a dull film"], [*pair.values()]), answers, strict=True
    ):
        assert command("predict", mix, "--task", task, *texts)["predictions"] == [answer]
        command("bake", mix, "--task", task, "--output", str(tmp_path / task))
        assert command("predict", str(tmp_path / task), *texts)["predictions"] == [answer]
    command("predict", str(tmp_path), "--file", str(tmp_path / "rows.jsonl"), "--output", str(tmp_path / "again.jsonl"))
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "answers.jsonl").read_text()
    for start, outputs in (
        (mix, {"demo/sentiment": 2, "demo/entailment": 3, "demo/acceptability": 2}),
        ("entailment", 2),
    ):
        place = str(tmp_path / f"next of {Path(start).name}")
        words = ["--from", str(tmp_path / start), "--task", "demo/acceptability", "--output", place, *short]
        command("train", *words)
        assert command("info", place)["backbone"]["outputs"] == outputs


def test_free_text_for_an_encoder_is_refused_before_anything_is_written(tmp_path, folders):
    (tmp_path / "a.jsonl").write_text('{"x": "one", "y": "a text"}\n{"x": "two", "y": "another"}\n')
    file = str(tmp_path / "a.jsonl")
    words = ["train", "--backbone", folders["encoder"], "--train", file, "--validation", file]
    result = CliRunner().invoke(app, [*words, "--text", "x", "--target", "y", "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()
